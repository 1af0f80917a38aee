"""A second extraction of every register map, written apart from the YAML files, must decode the same blocks alike.

Of 37 meters that two or more public projects describe, 11 are described differently somewhere: words swapped, one
register off, a thousand times too large. A map written down twice shows slips of the pen without a meter. It cannot
show an error that a source makes itself, since both were written from the sources that the model files name.

A table below reads: quantity and its suffixes | function, first address, `struct` format, scale | what the block
must give. Suffixes follow each other in memory; `-` is none. `i+f` and `d+d` are two values side by side, added.
A line with `=` is a block of registers as they stand on the wire. Numbers are arbitrary.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from config.check import load_models
from config.modbus import ModbusModel
from drivers import Target, modbus
from drivers.formula import evaluate
from tests.config.test_models_against_sources import TOLD

LOW_WORD_FIRST = ("carlo-gavazzi-em340", "tuf-2000m")
MAPS = {
    "abb-b23": """
        active_energy_import | 3 0x5000 Q 0.01 | 248389711005.36
        active_energy_export | 3 0x5004 Q 0.01 | 2433935368074.18
        active_energy_net | 3 0x5008 q 0.01 | 4249985434745.84
        reactive_energy_import | 3 0x500C Q 0.01 | 8309316216197.5
        reactive_energy_export | 3 0x5010 Q 0.01 | 8250754963713.37
        reactive_energy_net | 3 0x5014 q 0.01 | 7466197906717.81
        apparent_energy_import | 3 0x5018 Q 0.01 | 8415837810738.3
        apparent_energy_export | 3 0x501C Q 0.01 | 4737141758172.6
        active_energy_import l1,l2,l3 | 3 0x5460 Q 0.01 | 5724827795585.66 5399138819251.11 5324694255439.4
        active_energy_export l1,l2,l3 | 3 0x546C Q 0.01 | 3195993143147.83 9334629378022.66 4386825744448.52
        voltage l1,l2,l3 | 3 0x5B00 I 0.1 | 221.8 217.2 204
        current l1,l2,l3 | 3 0x5B0C I 0.01 | 21280281.17 16220780.08 14028604.73
        active_power -,l1,l2,l3 | 3 0x5B14 i 0.01 | 2831766.34 13854232.65 10674099.67 19491941.64
        frequency | 3 0x5B2C H 0.01 | 50.4
        power_factor -,l1,l2,l3 | 3 0x5B3A h 0.001 | -0.711 -0.194 0.702 -0.115
        reactive_power -,l1,l2,l3 | 3 0x5B1C i 0.01 | -19056518.7 5481112.42 -1622612.93 -12570917.78
        apparent_power -,l1,l2,l3 | 3 0x5B24 i 0.01 | 16677553.89 16458594.01 12181322.58 1539505.44
        current_n | 3 0x5B12 I 0.01 | 13355755.16
        voltage_ll l1l2,l2l3,l3l1 | 3 0x5B06 I 0.1 | 393.2 393.7 384.8
        3 0x5000 = 0000 1697 460c 8d78 0000 dd5d 794d 51fa 0001 8288 af36 bf98 0002 f3ba 5823 a826 0002 ee66 dbdf c489
            0002 a70b f767 bfa5 0002 fd6a 7e51 d3a6 0001 aed7 2d2c b62c
        3 0x5460 = 0002 08ab 88b7 32a6 0001 eb0c 7f24 35f7 0001 e447 32f6 9b04 0001 22ac 8399 a61f 0003 50fa c6d1 961a
            0001 8efa bf04 d934
        3 0x5b00 = 0000 08aa 0000 087c 0000 07f8 0000 0f5c 0000 0f61 0000 0f08 7ed7 21d5 60ae f238 539d f3b9 4f9b 43dc
            10e0 eeba 5293 e1a1 3f9f 622f 742e 57b4 8e6a 0f62 20ab 838a f654 16d3 b512 4d3e 6367 ed7d 6219 d249 489b 3922
            092d 1950 13b0
        3 0x5b3a = fd39 ff3e 02be ff8d
    """,
    "acrel-adl3000": """
        active_energy_total -,t1,t2,t3,t4 | 3 0x0000 I 0.01 | 31019892.7 34446275.75 26704007.74 18931175.75 26280550.14
        active_energy_import | 3 0x000A I 0.01 | 28031935.93
        active_energy_export | 3 0x0014 I 0.01 | 18247462.35
        reactive_energy_import | 3 0x0028 I 0.01 | 12531028.93
        reactive_energy_export | 3 0x0032 I 0.01 | 549194.35
        voltage l1,l2,l3 | 3 0x0061 H 0.1 | 224.5 238.3 224.8
        current l1,l2,l3 | 3 0x0064 H 0.01 | 496.75 92.68 8.79
        frequency | 3 0x0077 H 0.01 | 49.13
        voltage_ll l1l2,l2l3,l3l1 | 3 0x0078 H 0.1 | 398.1 393.5 393.9
        active_power l1,l2,l3,- | 3 0x0164 i 1 | 1099356430 -451265527 -454278254 -1338513528
        reactive_power | 3 0x0172 i 1 | 1857195
        apparent_power | 3 0x017A i 1 | -539637888
        power_factor | 3 0x017F h 0.001 | 0.769
        3 0x0000 = b8e4 9996 cd50 d877 9f2b 1506 70d6 ae87 9ca4 efe6 a715 56f9
        3 0x0014 = 6cc3 6afb
        3 0x0028 = 4ab0 d52d
        3 0x0032 = 0346 010b
        3 0x0061 = 08c5 094f 08c8 c20b 2434 036f
        3 0x0077 = 1331 0f8d 0f5f 0f63
        3 0x0164 = 4186 d90e e51a 3c09 e4ec 4392 b037 e788
        3 0x0172 = 001c 56ab
        3 0x017a = dfd5 c780
        3 0x017f = 0301
    """,
    "acrel-dtsd1352": """
        active_energy_total -,t1,t2,t3,t4 | 3 0x0000 I 0.01 | 18872158.54 27362847.28 30756782.77 28940473.85 5442613.17
        active_energy_import | 3 0x000A I 0.01 | 15300142.55
        active_energy_export | 3 0x0014 I 0.01 | 36877180.09
        reactive_energy_import | 3 0x0028 I 0.01 | 17188839.64
        reactive_energy_export | 3 0x0032 I 0.01 | 28992915.82
        voltage l1,l2,l3 | 3 0x0061 H 0.1 | 236.5 236.3 233.5
        current l1,l2,l3 | 3 0x0064 H 0.01 | 459.56 576.49 253.78
        frequency | 3 0x0077 H 0.01 | 50.67
        voltage_ll l1l2,l2l3,l3l1 | 3 0x0078 H 0.1 | 386.9 404.9 384.1
        active_power l1,l2,l3,- | 3 0x0164 i 1 | -521519189 -891341744 985399428 593693514
        reactive_power | 3 0x0172 i 1 | 1609394648
        apparent_power | 3 0x017A i 1 | -529545470
        power_factor | 3 0x017F h 0.001 | 0.91
        3 0x0000 = 707c a0ee a318 6438 b753 2045 ac7f a899 2070 c4c5 5b32 2a2f
        3 0x0014 = dbce 1c79
        3 0x0028 = 6674 167c
        3 0x0032 = accf adbe
        3 0x0061 = 093d 093b 091f b384 e131 6322
        3 0x0077 = 13cb 0f1d 0fd1 0f01
        3 0x0164 = e0ea 3fab cadf 3450 3abc 0084 2363 0b4a
        3 0x0172 = 5fed 69d8
        3 0x017a = e06f c702
        3 0x017f = 038e
    """,
    "carlo-gavazzi-em340": """
        active_energy_import | 4 0x0034 i 0.1 | 77582927.9
        reactive_energy_import | 4 0x0036 i 0.1 | 22760280.9
        active_energy_import l1,l2,l3,t1,t2 | 4 0x0040 i 0.1 | 51360647.5 77491045.6 158912551 111311391.3 37512904.7
        active_energy_export | 4 0x004E i 0.1 | 73003016.7
        reactive_energy_export | 4 0x0050 i 0.1 | 171224037.4
        active_energy_export l1,l2,l3 | 4 0x0060 i 0.1 | 60865377.6 17741887.1 14523934.9
        voltage l1,l2,l3 | 4 0x0000 i 0.1 | 204.8 203.8 211.1
        voltage_ll l1l2,l2l3,l3l1 | 4 0x0006 i 0.1 | 380.7 410.5 392.8
        current l1,l2,l3 | 4 0x000C i 0.001 | 1378590.776 -1877694.708 361945.848
        active_power l1,l2,l3 | 4 0x0012 i 0.1 | 22536718.9 -7060041 -140571041.2
        apparent_power l1,l2,l3 | 4 0x0018 i 0.1 | -181086979.5 100401113.6 -143704662.5
        reactive_power l1,l2,l3 | 4 0x001E i 0.1 | 58541937.2 -26728844.8 -13193125.4
        active_power | 4 0x0028 i 0.1 | 153902328.2
        apparent_power | 4 0x002A i 0.1 | 187754042.8
        reactive_power | 4 0x002C i 0.1 | -59942879.8
        power_factor l1,l2,l3,- | 4 0x002E h 0.001 | -0.607 0.99 -0.964 -0.217
        frequency | 4 0x0033 h 0.1 | 50.3
        operating_time | 4 0x005A i 0.01 | 17614700.7
        current_n | 4 0x0098 i 0.001 | 187866.822
        4 0x0000 = 0800 0000 07f6 0000 083f 0000 0edf 0000 1009 0000 0f58 0000 a038 522b a70c 9014 daf8 1592 d495 0d6e
            b926 fbca 8fb4 ac36 51dd 9410 fe80 3bd7 689f aa58 ca6c 22e4 8080 f011 e38a f822
        4 0x0028 = a1b2 5bbb fe4c 6fe8 7142 dc45 fda1 03de fc3c ff27
        4 0x0033 = 01f7 371f 2e3e f179 0d90
        4 0x0040 = 034b 1e9d 31f8 2e30 2186 5eb8 c539 4258 03d7 165c
        4 0x004e = 6057 2b83 b6f6 660e
        4 0x005a = e676 68fd
        4 0x0060 = 51d0 2447 3277 0a93 2d35 08a8
        4 0x0098 = 9ec6 0b32
    """,
    "eastron-sdm120": """
        active_energy_import | 4 72 f 1 | 51707.7
        active_energy_export | 4 74 f 1 | 72881.3
        reactive_energy_import | 4 76 f 1 | 35077
        reactive_energy_export | 4 78 f 1 | 24473.4
        active_energy_total | 4 342 f 1 | 29912
        reactive_energy_total | 4 344 f 1 | 33304.2
        voltage l1 | 4 0 f 1 | 238.766
        current l1 | 4 6 f 1 | 23668.4
        active_power | 4 12 f 1 | 67225.3
        apparent_power | 4 18 f 1 | 4650.25
        reactive_power | 4 24 f 1 | 35990.8
        power_factor | 4 30 f 1 | -0.640625
        phase_angle | 4 36 f 1 | 5726.86
        frequency | 4 70 f 1 | 49.0625
        4 0x0000 = 436e c419
        4 0x0006 = 46b8 e8cd
        4 0x000c = 4783 4ca6
        4 0x0012 = 4591 5200
        4 0x0018 = 470c 96cd
        4 0x001e = bf24 0000
        4 0x0024 = 45b2 f6e1
        4 0x0046 = 4244 4000 4749 fbb3 478e 58a6 4709 0500 46bf 32cd
        4 0x0156 = 46e9 b000 4702 1833
    """,
    "eastron-sdm630": """
        active_energy_import | 4 72 f 1 | 90140.7
        active_energy_export | 4 74 f 1 | 16267.3
        reactive_energy_import | 4 76 f 1 | 90617.6
        reactive_energy_export | 4 78 f 1 | 74221.3
        apparent_energy_total | 4 80 f 1 | 60445.2
        active_energy_total | 4 342 f 1 | 12190.8
        reactive_energy_total | 4 344 f 1 | 40271.9
        active_energy_import l1,l2,l3 | 4 346 f 1 | 67808.1 72106.1 64059.6
        active_energy_export l1,l2,l3 | 4 352 f 1 | 38913 88187.9 49747.9
        active_energy_total l1,l2,l3 | 4 358 f 1 | 97654.4 66407 85363
        reactive_energy_import l1,l2,l3 | 4 364 f 1 | 55167.9 4908.64 19669.7
        reactive_energy_export l1,l2,l3 | 4 370 f 1 | 42201.5 62323.1 93944
        reactive_energy_total l1,l2,l3 | 4 376 f 1 | 10057.2 86280.9 51533.7
        voltage l1,l2,l3 | 4 0 f 1 | 211.453 239.016 200.031
        current l1,l2,l3 | 4 6 f 1 | 28837.4 48763.6 86698.6
        active_power l1,l2,l3 | 4 12 f 1 | 7811.91 85995.2 612.984
        apparent_power l1,l2,l3 | 4 18 f 1 | 68390.8 54329.9 33328.3
        reactive_power l1,l2,l3 | 4 24 f 1 | 43824.2 80751.2 59979.3
        power_factor l1,l2,l3 | 4 30 f 1 | -0.078125 1 -0.453125
        phase_angle l1,l2,l3 | 4 36 f 1 | 42749.7 60715.1 39571.6
        active_power | 4 52 f 1 | 19418
        apparent_power | 4 56 f 1 | 4327.3
        reactive_power | 4 60 f 1 | 57658.6
        power_factor | 4 62 f 1 | -0.625
        phase_angle | 4 66 f 1 | 85898.8
        frequency | 4 70 f 1 | 50.671875
        voltage_ll l1l2,l2l3,l3l1 | 4 200 f 1 | 388.672 396.891 406.812
        current_n | 4 224 f 1 | 7022.8
        voltage_thd l1,l2,l3 | 4 234 f 1 | 23977.3 61436.1 88329.3
        current_thd l1,l2,l3 | 4 240 f 1 | 80749.4 101.516 12655.8
        4 0x0000 = 4353 73f8 436f 0419 4348 07f0 46e1 4acd 473e 7b9a 47a9 554d 45f4 1f48 47a7 f59a 4419 3efa 4785 9366
            4754 39e6 4702 304d 472b 3033 479d b79a 476a 4b4d bda0 0000 3f80 0000 bee8 0000 4726 fdb3 476d 2b1a 471a 939a
        4 0x0034 = 4697 b400
        4 0x0038 = 4587 3a66
        4 0x003c = 4761 3a9a bf20 0000
        4 0x0042 = 47a7 c566
        4 0x0046 = 424a b000 47b0 0e5a 467e 2d33 47b0 fccd 4790 f6a6 476c 1d33
        4 0x00c8 = 43c2 5604 43c6 720c 43cb 67f0
        4 0x00e0 = 45db 7666
        4 0x00ea = 46bb 529a 476f fc1a 47ac 84a6 479d b6b3 42cb 0831 4645 bf33
        4 0x0156 = 463e 7b33 471d 4fe6 4784 700d 478c d50d 477a 3b9a 4718 0100 47ac 3df3 4742 53e6 47be bb33 4781 b380
            47a6 b980 4757 7fe6 4599 651f 4699 ab66 4724 d980 4773 731a 47b7 7c00 461d 24cd 47a8 8473 4749 4db3
    """,
    "schneider-iem3000": """
        active_energy_import | 3 3203 q 0.001 | 632140945305.137
        active_energy_export | 3 3207 q 0.001 | 295838020250.271
        reactive_energy_import | 3 3219 q 0.001 | 339301431252.642
        reactive_energy_export | 3 3223 q 0.001 | 683648953360.598
        active_energy_import l1,l2,l3 | 3 3517 q 0.001 | 346303521614.13 989991767665 946280456418.781
        current l1,l2,l3 | 3 2999 f 1 | 29602.4 80632.6 15824.3
        voltage_ll l1l2,l2l3,l3l1 | 3 3019 f 1 | 389.109 382.5 413.25
        voltage l1,l2,l3 | 3 3027 f 1 | 234.344 212.062 221.312
        active_power l1,l2,l3,- | 3 3053 f 1000 | 60000800 89466500 76908200 83892000
        reactive_power | 3 3067 f 1000 | 21023000
        apparent_power | 3 3075 f 1000 | 21903300
        frequency | 3 3109 f 1 | 50.828125
        3 0x0bb7 = 46e7 44cd 479d 7c4d 4677 4133
        3 0x0bcb = 43c2 8df4 43bf 4000 43ce a000
        3 0x0bd3 = 436a 5810 4354 0fdf 435d 4fdf
        3 0x0bed = 476a 60cd 47ae bd40 4796 361a 47a3 da00
        3 0x0bfb = 46a4 3e00
        3 0x0c03 = 46ab 1e9a
        3 0x0c25 = 424b 5000
        3 0x0c83 = 0002 3eed c87e 2e31 0001 0d10 281b aa9f
        3 0x0c93 = 0001 3497 c548 16a2 0002 6dc6 6d04 20d6
        3 0x0dbd = 0001 3af6 1263 e932 0003 8464 6ba4 6968 0003 5ca3 1676 75dd
    """,
    "schneider-pm5000": """
        active_energy_import | 3 3203 q 0.001 | 861758142792.378
        active_energy_export | 3 3207 q 0.001 | 461946770878.552
        reactive_energy_import | 3 3219 q 0.001 | 14212325442.66
        reactive_energy_export | 3 3223 q 0.001 | 27526339556.727
        apparent_energy_import | 3 3235 q 0.001 | 532587924631.341
        apparent_energy_export | 3 3239 q 0.001 | 972755972337.075
        current l1,l2,l3 | 3 2999 f 1 | 6993.62 16930.8 78855.4
        current_n | 3 3005 f 1 | 50604.8
        voltage_ll l1l2,l2l3,l3l1 | 3 3019 f 1 | 392.312 397.438 402.031
        voltage l1,l2,l3 | 3 3027 f 1 | 221.156 226.812 213.953
        active_power l1,l2,l3,- | 3 3053 f 1000 | 7818250 52882600 10152800 50014200
        reactive_power | 3 3067 f 1000 | 8265660
        apparent_power | 3 3075 f 1000 | 76875000
        frequency | 3 3109 f 1 | 50.734375
        3 0x0bb7 = 45da 8cf6 4684 459a 479a 03b3 4745 accd
        3 0x0bcb = 43c4 27f0 43c6 b810 43c9 03f8
        3 0x0bd3 = 435d 27f0 4362 cfdf 4355 f3f8
        3 0x0bed = 45f4 5200 474e 929a 461e a333 4743 5e33
        3 0x0bfb = 4601 26a4
        3 0x0c03 = 4796 2580
        3 0x0c25 = 424a f000
        3 0x0c83 = 0003 0fc3 b3fb c2ba 0001 a423 5d2e f058
        3 0x0c93 = 0000 0ced 109c 0464 0000 1908 f9b0 f577
        3 0x0ca3 = 0001 e462 ca0f 2f2d 0003 74b7 662f 2db3
    """,
    "siemens-pac3200": """
        voltage l1,l2,l3 | 3 1 f 1 | 224.906 239.531 202.891
        current l1,l2,l3 | 3 13 f 1 | 70402.9 82628.3 26095.1
        active_power l1,l2,l3 | 3 25 f 1 | 86916.3 31757.9 30673.3
        power_factor l1,l2,l3 | 3 37 f 1 | -0.3125 -0.421875 -0.296875
        apparent_power | 3 63 f 1 | 21339.2
        active_power | 3 65 f 1 | 78294.9
        reactive_power | 3 67 f 1 | 55723.9
        power_factor | 3 69 f 1 | -0.625
        voltage_ll l1l2,l2l3,l3l1 | 3 7 f 1 | 384.234 400.375 401.391
        apparent_power l1,l2,l3 | 3 19 f 1 | 45768.5 68290.2 24089.9
        reactive_power l1,l2,l3 | 3 31 f 1 | 67788.7 35132.2 62393.4
        frequency | 3 55 f 1 | 50.796875
        active_energy_import t1,t2 | 3 801 d 0.001 | 5574361.12575 5612485.686875
        active_energy_export t1,t2 | 3 809 d 0.001 | 11927609.8825 5273320.353875
        reactive_energy_import t1,t2 | 3 817 d 0.001 | 5878164.216375 1343135.99725
        reactive_energy_export t1,t2 | 3 825 d 0.001 | 5540758.795125 2596255.342
        apparent_energy_total t1,t2 | 3 833 d 0.001 | 10491303.753375 1031029.06925
        active_energy_import | 3 801 d+d 0.001 | 11186846.812625
        active_energy_export | 3 809 d+d 0.001 | 17200930.236375
        reactive_energy_import | 3 817 d+d 0.001 | 7221300.213625
        reactive_energy_export | 3 825 d+d 0.001 | 8137014.137125
        apparent_energy_total | 3 833 d+d 0.001 | 11522332.822625
        3 0x0001 = 4360 e7f0 436f 87f0 434a e419 43c0 1df4 43c8 3000 43c8 b20c 4789 8173 47a1 6226 46cb de33 4732 c880
            4785 611a 46bc 33cd 47a9 c226 46f8 1bcd 46ef a29a 4784 665a 4709 3c33 4773 b966 bea0 0000 bed8 0000 be98 0000
        3 0x0037 = 424b 3000
        3 0x003f = 46a6 b666 4798 eb73 4759 abe6 bf20 0000
        3 0x0321 = 41f4 c420 025c 0000 41f4 e87b c36e 0000 4206 3787 10d4 0000 41f3 a507 ba1e 0000 41f5 e5da af86 0000
            41d4 03a8 3f50 0000 41f4 a414 50b2 0000 41e3 57f6 cdc0 0000 4203 8aa4 ba4b 0000 41ce ba20 a6a0 0000
    """,
    "tuf-2000m": """
        volume_flow | 3 0 f 1 | 13443.6
        velocity | 3 4 f 1 | 59202
        temperature flow,return | 3 32 f 1 | 84772.8 65403.9
        volume_forward | 3 8 i+f 1 | 1444830471.125
        volume_reverse | 3 12 i+f 1 | -446070328.75
        volume_net | 3 24 i+f 1 | -1941364971.75
        3 0x0000 = 0e66 4652
        3 0x0004 = 4200 4767
        3 0x0008 = 5d07 561e 0000 3e00 81c7 e569 0000 3e80
        3 0x0018 = 1f14 8c49 0000 3e80
        3 0x0020 = 9266 47a5 7be6 477f
    """,
    "wirenboard-wb-mcm8": """
        pulse_count ch0,ch1,ch2,ch3,ch4 | 4 60 I 1 | 709369207 678528058 2765458785 3486766696 3987623447
        pulse_count ch5,ch6,ch7 | 4 70 I 1 | 2708084483 3363894297 1632473969
        4 0x003c = 2a48 1d77 2871 843a a4d5 8d61 cfd3 d668 edae 4e17 a16a 1703 c880 f419 614d 9371
    """,
}
REGISTERS = {"H": 1, "h": 1, "I": 2, "i": 2, "f": 2, "Q": 4, "q": 4, "d": 4}
MODELS = load_models()


@dataclass(frozen=True)
class Row:
    """One value of a table: its parts' formats, where it begins, its scale and what it must be."""

    quantity: str
    function: int
    address: int
    parts: tuple[str, ...]
    scale: Decimal
    expected: Decimal


@dataclass
class Table:
    """A parsed table: registers by function and address, and rows."""

    memory: dict[tuple[int, int], bytes] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


def rows_of(line: str) -> Iterator[Row]:
    name, place, numbers = (cell.split() for cell in line.split("|"))
    function, first, parts, scale = int(place[0]), int(place[1], 0), tuple(place[2].split("+")), Decimal(place[3])
    suffixes = name[1].split(",") if len(name) > 1 else ["-"]
    assert len(suffixes) == len(numbers), line
    step = sum(REGISTERS[part] for part in parts)
    for index, (suffix, number) in enumerate(zip(suffixes, numbers, strict=True)):
        quantity = name[0] if suffix == "-" else f"{name[0]}.{suffix}"
        yield Row(quantity, function, first + index * step, parts, scale, Decimal(number))


def table_of(model: str) -> Table:
    table = Table()
    text = MAPS[model].replace("\n            ", " ")
    for line in filter(None, (each.strip() for each in text.splitlines())):
        if "|" in line:
            table.rows += rows_of(line)
            continue
        place, words = line.split("=")
        function, first = (int(number, 0) for number in place.split())
        table.memory |= {(function, first + index): bytes.fromhex(word) for index, word in enumerate(words.split())}
    return table


def part_bytes(table: Table, row: Row, model: str) -> list[tuple[str, bytes]]:
    """The bytes of each part, most significant first."""
    made, address = [], row.address
    for part in row.parts:
        words = [table.memory[row.function, address + index] for index in range(REGISTERS[part])]
        made.append((part, b"".join(reversed(words) if model in LOW_WORD_FIRST else words)))
        address += REGISTERS[part]
    return made


def crc16(data: bytes) -> bytes:
    """CRC-16 of Modbus RTU, bit by bit as the standard describes it."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xA001 if register & 1 else 0)
    return register.to_bytes(2, "little")


def answer_to(request: bytes, table: Table) -> bytes:
    """What a meter with the table's registers answers; registers that the table does not name hold 0."""
    function, first, count = struct.unpack(">BHH", request[1:6])
    data = b"".join(table.memory.get((function, first + index), b"\0\0") for index in range(count))
    frame = bytes([request[0], function, len(data)]) + data
    return frame + crc16(frame)


def values_of(model: ModbusModel, table: Table) -> dict[str, str | None]:
    """What the YAML file makes of the table's registers, over the reads that the driver plans itself."""
    target = Target(model, "17", "rtu")
    requests = [request.data for request in modbus.requests(target, model.points)]
    answers = [answer_to(request, table) for request in requests]
    for request, answer in zip(requests, answers, strict=True):
        modbus.check(request, answer, "rtu")
    return {point.quantity: evaluate(modbus.locate(target, requests, point), answers).value for point in model.points}


def test_every_shipped_model_but_the_generic_one_has_a_second_extraction() -> None:
    modbus_models = {name for name, model in MODELS.items() if model.declared.protocol == "modbus"}
    assert set(MAPS) | set(TOLD) == modbus_models - {"generic-modbus"}


@pytest.mark.parametrize("model", MAPS)
def test_both_extractions_name_the_same_quantities(model: str) -> None:
    named = [row.quantity for row in table_of(model).rows]
    assert sorted(named) == sorted(point.quantity for point in MODELS[model].declared.points)


@pytest.mark.parametrize("model", MAPS)
def test_the_second_extraction_decodes_its_block_to_its_numbers(model: str) -> None:
    table = table_of(model)
    for row in table.rows:
        parts = part_bytes(table, row, model)
        if len(parts) == 1 and parts[0][0] in "fd":
            assert struct.pack(f">{parts[0][0]}", float(row.expected / row.scale)) == parts[0][1], row
        else:
            total = sum(Decimal(struct.unpack(f">{part}", data)[0]) for part, data in parts)
            assert total * row.scale == row.expected, row


@pytest.mark.parametrize("model", MAPS)
def test_the_model_file_decodes_the_same_block_to_the_same_numbers(model: str) -> None:
    table = table_of(model)
    values = values_of(MODELS[model].declared, table)
    assert {quantity: Decimal(value or "NaN") for quantity, value in values.items()} == {
        row.quantity: row.expected for row in table.rows
    }


@pytest.mark.parametrize("model", LOW_WORD_FIRST)
def test_reading_the_block_with_the_high_word_first_gives_other_numbers(model: str) -> None:
    declared = MODELS[model].declared
    swapped = declared.model_copy(update={"modbus": declared.modbus.model_copy(update={"word_order": "big"})})
    table = table_of(model)
    right, wrong = values_of(declared, table), values_of(swapped, table)
    long = [row.quantity for row in table.rows if row.parts not in (("H",), ("h",))]
    assert [quantity for quantity in long if right[quantity] == wrong[quantity]] == []


@pytest.mark.parametrize("model", MAPS)
def test_a_block_moved_by_one_register_gives_other_numbers(model: str) -> None:
    table = table_of(model)
    moved = Table({(function, address + 1): word for (function, address), word in table.memory.items()}, table.rows)
    right, wrong = values_of(MODELS[model].declared, table), values_of(MODELS[model].declared, moved)
    assert [quantity for quantity in right if right[quantity] == wrong[quantity]] == []
