"""The words of a ledger of measuring instruments, in Chinese and English: columns, media, intervals, states. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        key: the meter's key in the site file, or `number`, `name`, `state`, `ratio`.
        titles: what it may be called; the first is written in Chinese, the last in English.
        written: whether it is written as well.
    """

    key: str
    titles: tuple[str, ...]
    written: bool = True


COLUMNS = (
    Column("number", ("序号", "No.", "no", "#", "number")),
    Column("name", ("计量器具名称", "器具名称", "仪表名称", "表计名称", "名称", "instrument", "name"), written=False),
    Column("product", ("型号规格", "规格型号", "型号/规格", "型号", "规格", "type", "product")),
    Column("accuracy_class", ("准确度等级", "精度等级", "准确度", "等级", "class", "accuracy class")),
    Column("measuring_range", ("测量范围", "量程", "range", "measuring range")),
    Column("maker", ("生产厂家", "制造厂", "生产厂商", "生产单位", "制造单位", "厂家", "manufacturer", "maker")),
    Column("serial", ("出厂编号", "出厂号", "表号", "产品编号", "serial no", "serial", "serial number")),
    Column("id", ("用能单位管理编号", "管理编号", "单位管理编号", "统一编号", "设备编号", "表计编号", "meter", "meter id", "id")),
    Column(
        "place",
        ("安装使用地点及用途", "安装地点及用途", "安装使用地点", "安装地点", "安装位置", "使用地点", "用途", "location", "place"),
    ),
    Column(
        "state",
        (
            "状态",
            "检定/校准状态",
            "检定校准状态",
            "检定状态",
            "使用状态",
            "状态(合格/准用/停用)",
            "verification state",
            "status",
            "state",
        ),
        written=False,
    ),
    Column("certificate", ("检定证书编号", "证书编号", "检定证书号", "校准证书编号", "certificate no", "certificate")),
    Column(
        "valid_until", ("有效期至", "有效期", "检定有效期", "有效日期", "下次检定日期", "下次检定时间", "valid to", "valid until")
    ),
    Column(
        "verification_months", ("检定周期(月)", "检定周期", "检定/校准间隔", "校准周期", "interval months", "verification months")
    ),
    Column("ratio", ("倍率", "综合倍率", "总倍率", "multiplier", "ratio"), written=False),
    Column("ct", ("CT", "电流互感器变比", "电流变比", "CT变比", "互感器变比", "ct ratio", "ct")),
    Column("vt", ("PT", "电压互感器变比", "电压变比", "PT变比", "VT变比", "pt", "vt ratio", "vt")),
    Column("pipe_mm", ("管径(mm)", "管径", "口径", "公称通径", "DN", "pipe mm", "pipe_mm")),
    Column("seal", ("铅封号", "封印编号", "铅封编号", "seal no", "seal")),
    Column("installed", ("安装日期", "投运日期", "启用日期", "安装时间", "installation date", "installed")),
    Column("medium", ("能源种类", "介质", "计量介质", "能源品种", "energy", "medium")),
    Column("link", ("线路", "通信线路", "总线", "回路", "通道", "line", "link")),
    Column("address", ("通信地址", "通讯地址", "表地址", "地址", "modbus地址", "address")),
    Column("model", ("采集模型", "表计模型", "通信模型", "模型", "meter model", "model")),
    Column("every", ("采集周期", "采集间隔", "抄表周期", "read every", "every")),
    Column("baud", ("波特率", "baud rate", "baud")),
    Column("format", ("数据格式", "校验", "format")),
)

MEDIA: Mapping[str, tuple[str, ...]] = {
    "electricity": ("电", "电力", "电能", "electric", "power"),
    "water": ("水", "自来水", "新水", "冷水", "热水"),
    "heat": ("热", "热力", "热量", "供热"),
    "cooling": ("冷", "冷量", "供冷"),
    "gas": ("气", "天然气", "燃气", "煤气", "natural gas"),
    "steam": ("蒸汽", "汽"),
    "compressed_air": ("压缩空气", "压空", "compressed air"),
    "oil": ("油", "柴油", "燃油", "重油"),
    "pulse": ("脉冲",),
    "other": ("其他", "其它"),
}

INTERVALS: Mapping[str, str] = {
    **dict.fromkeys(("分钟", "分", "min", "minutes", "mins"), "m"),
    **dict.fromkeys(("小时", "时", "hours", "hour"), "h"),
    **dict.fromkeys(("秒", "seconds", "sec"), "s"),
}

OUT_OF_USE = ("停用", "报废", "封存", "拆除", "不合格", "out of use", "scrapped", "removed")
