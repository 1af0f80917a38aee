/* Many Modbus TCP meters in one process, for measuring under load: it shares no code with the drivers and takes little
 * processor time, so that what is measured is the agent.
 *
 *   tcp_units PORTS        prints so many ports of 127.0.0.1, one a line, then answers on all of them until it is killed
 *
 * Every unit from 1 to 247 answers on every port to functions 3 and 4. Registers come in groups of ten, at any address:
 *
 *   0 1 2   three unsigned numbers up to 4095          3 4   a 32-bit counter, high register first
 *   5 6 7   three more                                 8 9   a binary32 number from 128 to 256, high register first
 *
 * All of them differ from unit to unit and from port to port, and change ten times a second. Anything else that is Modbus
 * TCP is refused (exception 1, 2 or 3); a connection on which something else arrives is closed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEADER 7     /* transaction, protocol, length, unit */
#define REQUEST 12   /* header, function, address, count */
#define MOST 125     /* registers in one answer */
#define EVENTS 256
#define ROOM 2048

/* What epoll hands back: a listening socket, or a connection with the bytes that no request was made of yet. */
struct place {
    int socket;
    int listening;
    unsigned port;
    size_t held;
    uint8_t bytes[ROOM];
};

static uint32_t tenths(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint32_t)now.tv_sec * 10 + (uint32_t)(now.tv_nsec / 100000000);
}

static uint32_t mixed(uint32_t seed)
{
    seed = (seed ^ (seed >> 16)) * 0x45d9f3bu;
    seed = (seed ^ (seed >> 16)) * 0x45d9f3bu;
    return seed ^ (seed >> 16);
}

static uint16_t number_at(uint32_t meter, uint32_t address, uint32_t tick)
{
    uint32_t within = address % 10, whole;

    switch (within) {
    case 3:
    case 4:
        whole = 1000000 * (meter % 1000) + 1000 * (address / 10) + tick % 100000000;
        return (uint16_t)(within == 3 ? whole >> 16 : whole);
    case 8:
    case 9:
        whole = 0x43000000 | (mixed(meter ^ mixed(address / 10 ^ mixed(tick))) & 0x7fffff);
        return (uint16_t)(within == 8 ? whole >> 16 : whole);
    default:
        return (uint16_t)((31 * meter + 17 * address + tick) % 4096);
    }
}

static void put(uint8_t *at, uint16_t number)
{
    at[0] = (uint8_t)(number >> 8);
    at[1] = (uint8_t)number;
}

static uint16_t get(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* Writes the answer to a request of `length` bytes; how long it is. */
static size_t answered(const struct place *place, const uint8_t *request, size_t length, uint8_t *answer)
{
    uint32_t meter = place->port * 256 + request[6], tick = tenths();
    uint16_t address, count;
    uint8_t refusal = 0;

    memcpy(answer, request, HEADER + 1);
    address = length == REQUEST ? get(request + 8) : 0;
    count = length == REQUEST ? get(request + 10) : 0;
    if (request[7] != 3 && request[7] != 4)
        refusal = 1;
    else if (count < 1 || count > MOST)
        refusal = 3;
    else if (address + count > 65536)
        refusal = 2;
    if (refusal) {
        answer[7] |= 0x80;
        answer[8] = refusal;
        put(answer + 4, 3);
        return HEADER + 2;
    }
    answer[8] = (uint8_t)(2 * count);
    for (unsigned index = 0; index < count; index++)
        put(answer + 9 + 2 * index, number_at(meter, address + index, tick));
    put(answer + 4, (uint16_t)(3 + 2 * count));
    return (size_t)(9 + 2 * count);
}

/* Answers every whole request that is held; -1 where the connection cannot go on. */
static int answer_all(struct place *place)
{
    uint8_t answer[HEADER + 2 + 2 * MOST];
    size_t done = 0;

    while (place->held - done >= HEADER + 1) {
        const uint8_t *request = place->bytes + done;
        size_t length = 6 + get(request + 4), size;

        if (get(request + 2) != 0 || length < HEADER + 1 || length > 260)
            return -1;
        if (place->held - done < length)
            break;
        size = answered(place, request, length, answer);
        if (send(place->socket, answer, size, MSG_NOSIGNAL) != (ssize_t)size)
            return -1;
        done += length;
    }
    memmove(place->bytes, place->bytes + done, place->held - done);
    place->held -= done;
    return 0;
}

static void watch(int poller, int socket, int listening, unsigned port)
{
    struct place *place = calloc(1, sizeof *place);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = place};

    if (!place)
        exit(1);
    *place = (struct place){.socket = socket, .listening = listening, .port = port};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, socket, &event))
        exit(1);
}

static void take(int poller, struct place *place)
{
    ssize_t got;

    if (place->listening) {
        int one = 1, connection = accept4(place->socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (connection >= 0) {
            setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            watch(poller, connection, 0, place->port);
        }
        return;
    }
    got = recv(place->socket, place->bytes + place->held, ROOM - place->held, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0) {
        place->held += (size_t)got;
        if (!answer_all(place))
            return;
    }
    close(place->socket);
    free(place);
}

static void listen_on(int poller, unsigned port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (listening < 0 || bind(listening, (struct sockaddr *)&at, size) || listen(listening, 64) ||
        getsockname(listening, (struct sockaddr *)&at, &size)) {
        perror("tcp_units");
        exit(1);
    }
    printf("%d\n", ntohs(at.sin_port));
    watch(poller, listening, 1, port);
}

int main(int count, char **words)
{
    int ports = count == 2 ? atoi(words[1]) : 0, poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS];

    if (ports < 1 || poller < 0) {
        fprintf(stderr, "tcp_units PORTS\n");
        return 2;
    }
    for (int port = 0; port < ports; port++)
        listen_on(poller, (unsigned)port);
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);

        if (ready < 0 && errno != EINTR)
            return 1;
        for (int index = 0; index < ready; index++)
            take(poller, events[index].data.ptr);
    }
}
