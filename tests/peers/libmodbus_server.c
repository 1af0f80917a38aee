/* A Modbus server on libmodbus, for tests: an implementation that shares no code with the drivers.
 *
 *   libmodbus_server tcp                       prints the port it listens on, on 127.0.0.1
 *   libmodbus_server rtu DEVICE BAUD UNIT      prints "ready"
 *
 * The map comes on standard input first, one cell a line: a letter for the table (h holding register, i input
 * register, c coil, d discrete input), address and value. Addresses from 0 to 199 exist. It serves one client after
 * another until it is killed. */
#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CELLS 200

static modbus_mapping_t *read_map(void)
{
    modbus_mapping_t *map = modbus_mapping_new(CELLS, CELLS, CELLS, CELLS);
    char table;
    int address, value;

    while (map && scanf(" %c %d %d", &table, &address, &value) == 3) {
        if (address < 0 || address >= CELLS)
            exit(2);
        switch (table) {
        case 'h': map->tab_registers[address] = (uint16_t)value; break;
        case 'i': map->tab_input_registers[address] = (uint16_t)value; break;
        case 'c': map->tab_bits[address] = (uint8_t)value; break;
        case 'd': map->tab_input_bits[address] = (uint8_t)value; break;
        default: exit(2);
        }
    }
    return map;
}

static void say(int number, const char *word)
{
    if (word)
        printf("%s\n", word);
    else
        printf("%d\n", number);
    fflush(stdout);
}

static void answer(modbus_t *server, modbus_mapping_t *map)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int length = modbus_receive(server, query);

    while (length >= 0) {
        if (length > 0)
            modbus_reply(server, query, length, map);
        length = modbus_receive(server, query);
    }
}

int main(int count, char **words)
{
    modbus_mapping_t *map = read_map();
    modbus_t *server;

    if (!map)
        return 1;
    if (count == 2 && !strcmp(words[1], "tcp")) {
        struct sockaddr_in at;
        socklen_t size = sizeof at;
        int listening;

        server = modbus_new_tcp("127.0.0.1", 0);
        listening = modbus_tcp_listen(server, 8);
        if (listening < 0 || getsockname(listening, (struct sockaddr *)&at, &size))
            return 1;
        say(ntohs(at.sin_port), NULL);
        for (;;) {
            if (modbus_tcp_accept(server, &listening) < 0)
                return 1;
            answer(server, map);
            modbus_close(server);
        }
    }
    if (count == 5 && !strcmp(words[1], "rtu")) {
        server = modbus_new_rtu(words[2], atoi(words[3]), 'N', 8, 1);
        if (!server || modbus_set_slave(server, atoi(words[4])) || modbus_connect(server))
            return 1;
        say(0, "ready");
        for (;;)
            answer(server, map); /* a request to another unit or a broken one ends it: go on listening */
    }
    return 2;
}
