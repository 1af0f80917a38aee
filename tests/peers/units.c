/* Modbus RTU meters behind one serial port, for tests: as many units as wanted, fast and exact, sharing no code with
 * the drivers.
 *
 *   units DEVICE UNIT...       prints "ready"; ends with its standard input
 *
 * A unit is told by its address and what is odd about it, with colons between:
 *
 *   7                  answers 5 ms after the last byte of a request
 *   7:turn=20          after 20 ms
 *   7:dead             never
 *   7:every=2          only every second request
 *   7:late=400         400 ms later than `turn` says
 *
 * A line of the same on standard input replaces the unit of that address. Holding and input registers (functions 3 and
 * 4) are the same: the registers 1000 and 1001 are a 32-bit count of the answered requests that read them; all others
 * make binary32 numbers from 230 to 231 where two are read together from an even address. A unit that has not yet
 * answered does not hear. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define REQUEST 8
#define COUNTER 1000
#define MOST_REGISTERS 125

struct unit {
    int exists, dead, every, requests;
    int64_t turn_ns, late_ns, answer_at; /* answer_at: 0 while there is nothing to say */
    uint32_t counter;
    size_t length;
    uint8_t answer[256];
};

static struct unit units[256];

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static uint16_t crc(const uint8_t *data, size_t length)
{
    uint16_t value = 0xFFFF;

    for (size_t i = 0; i < length; i++) {
        value ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? (value >> 1) ^ 0xA001 : value >> 1;
    }
    return value;
}

static int become(char *told)
{
    char *rest, *word = strtok_r(told, ":\n", &rest);
    int address = word ? atoi(word) : 0;
    struct unit *unit = &units[address & 0xFF];

    if (address < 1 || address > 247)
        return -1;
    unit->exists = 1;
    unit->dead = 0;
    unit->every = 1;
    unit->turn_ns = 5000000;
    unit->late_ns = 0;
    while ((word = strtok_r(NULL, ":\n", &rest))) {
        if (!strcmp(word, "dead"))
            unit->dead = 1;
        else if (!strncmp(word, "every=", 6))
            unit->every = atoi(word + 6);
        else if (!strncmp(word, "turn=", 5))
            unit->turn_ns = (int64_t)(atof(word + 5) * 1e6);
        else if (!strncmp(word, "late=", 5))
            unit->late_ns = (int64_t)(atof(word + 5) * 1e6);
        else
            return -1;
    }
    return unit->every > 0 ? 0 : -1;
}

static uint16_t register_at(const struct unit *unit, unsigned address)
{
    if (address == COUNTER)
        return unit->counter >> 16;
    if (address == COUNTER + 1)
        return unit->counter & 0xFFFF;
    return address % 2 ? (address * 37) & 0xFFFF : 0x4366;
}

static void prepare(struct unit *unit, const uint8_t *request)
{
    unsigned first = request[2] << 8 | request[3], count = request[4] << 8 | request[5];
    uint8_t *answer = unit->answer;
    uint16_t sum;

    memcpy(answer, request, 2);
    if ((request[1] != 3 && request[1] != 4) || count < 1 || count > MOST_REGISTERS) {
        answer[1] |= 0x80;
        answer[2] = request[1] == 3 || request[1] == 4 ? 3 : 1;
        unit->length = 3;
    } else {
        if (first <= COUNTER + 1 && first + count > COUNTER)
            unit->counter++;
        answer[2] = count * 2;
        for (unsigned i = 0; i < count; i++) {
            uint16_t word = register_at(unit, first + i);

            answer[3 + 2 * i] = word >> 8;
            answer[4 + 2 * i] = word & 0xFF;
        }
        unit->length = 3 + 2 * count;
    }
    sum = crc(answer, unit->length);
    answer[unit->length++] = sum & 0xFF;
    answer[unit->length++] = sum >> 8;
}

/* The last eight characters are a request as soon as their sum is right: noise before it does no harm. */
static void hear(uint8_t character, int64_t moment)
{
    static uint8_t window[REQUEST];
    struct unit *unit;

    memmove(window, window + 1, REQUEST - 1);
    window[REQUEST - 1] = character;
    unit = &units[window[0]];
    if (!unit->exists || unit->answer_at || crc(window, REQUEST)) /* with its own sum behind it, the sum is 0 */
        return;
    unit->requests++;
    if (!unit->dead && unit->requests % unit->every == 0) {
        prepare(unit, window);
        unit->answer_at = moment + unit->turn_ns + unit->late_ns;
    }
    memset(window, 0, REQUEST);
}

/* Sends what is due; the time of the next answer, 0 if there is none. */
static int64_t speak(int port)
{
    int64_t next = 0;

    for (int address = 1; address < 248; address++) {
        struct unit *unit = &units[address];

        if (unit->answer_at && unit->answer_at <= now_ns()) {
            if (write(port, unit->answer, unit->length) != (ssize_t)unit->length)
                exit(1);
            unit->answer_at = 0;
        }
        if (unit->answer_at && (!next || unit->answer_at < next))
            next = unit->answer_at;
    }
    return next;
}

static void listen_until(int port, int64_t next)
{
    struct pollfd ready[2] = {{.fd = port, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    int64_t rest = next ? next - now_ns() : 0;
    struct timespec wait = {.tv_sec = rest > 0 ? rest / 1000000000 : 0, .tv_nsec = rest > 0 ? rest % 1000000000 : 0};
    uint8_t heard[256];
    char line[4096], *rest_of_lines, *told;
    ssize_t count;

    if (ppoll(ready, 2, next ? &wait : NULL, NULL) < 0 && errno != EINTR)
        exit(1);
    if (ready[0].revents) {
        count = read(port, heard, sizeof heard);
        if (count <= 0)
            exit(1);
        for (ssize_t i = 0; i < count; i++)
            hear(heard[i], now_ns());
    }
    if (ready[1].revents) {
        count = read(0, line, sizeof line - 1);
        if (count <= 0)
            exit(0);
        line[count] = 0;
        for (told = strtok_r(line, "\n", &rest_of_lines); told; told = strtok_r(NULL, "\n", &rest_of_lines))
            if (become(told))
                exit(2);
    }
}

int main(int count, char **words)
{
    struct sched_param priority = {.sched_priority = 19};
    struct termios raw;
    int port;

    if (count < 3 || (port = open(words[1], O_RDWR | O_NOCTTY)) < 0 || tcgetattr(port, &raw))
        return 2;
    cfmakeraw(&raw);
    if (tcsetattr(port, TCSANOW, &raw))
        return 2;
    for (int i = 2; i < count; i++)
        if (become(words[i]))
            return 2;
    prctl(PR_SET_TIMERSLACK, 1000);
    sched_setscheduler(0, SCHED_FIFO, &priority); /* where it is not allowed, answers are a little less exact */
    printf("ready\n");
    fflush(stdout);
    for (;;)
        listen_until(port, speak(port));
}
