/* The fastest server there can be here: reads each request to its end, answers a constant. One process, epoll.
 *
 * Shows how fast the generator is when the server costs next to nothing. Usage: constant PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { PIECE = 65536, MOST = 4096 };

static const char ANSWER[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 68\r\n\r\n"
    "{\"predictions\":[181234.56789012345],\"errors\":null,\"version\":\"1.0.0\"}";

/* A connection: the head so far, then how much of the body is still to come. */
struct client { char head[PIECE + 1]; size_t length, body; };
static struct client *clients[MOST];

static int answer(int fd) { return write(fd, ANSWER, sizeof ANSWER - 1) == (ssize_t)(sizeof ANSWER - 1); }

/* Read what there is; 0 to close the connection. */
static int serve(int fd) {
    static char body[PIECE];
    struct client *c = clients[fd];
    if (c->body) {
        ssize_t n = read(fd, body, c->body < PIECE ? c->body : PIECE);
        if (n <= 0) return 0;
        c->body -= (size_t)n;
        return c->body ? 1 : answer(fd);
    }
    ssize_t n = read(fd, c->head + c->length, PIECE - c->length);
    if (n <= 0) return 0;
    c->length += (size_t)n;
    c->head[c->length] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return c->length < PIECE;
    char *field = strcasestr(c->head, "\r\ncontent-length:");
    size_t wanted = field && field < end ? strtoul(field + 17, NULL, 10) : 0;
    size_t came = c->length - (size_t)(end + 4 - c->head);
    c->length = 0;
    c->body = wanted > came ? wanted - came : 0;
    return c->body ? 1 : answer(fd);
}

int main(int count, char **arguments) {
    int yes = 1, poll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0);
    if (count != 2) return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) return perror("constant"), 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                fd = accept(listener, NULL, NULL);
                if (fd < 0) continue;
                if (fd >= MOST) { close(fd); continue; }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                if (!clients[fd]) clients[fd] = malloc(sizeof *clients[fd]);
                clients[fd]->length = clients[fd]->body = 0;
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
            } else if (!serve(fd)) {
                close(fd);
            }
        }
    }
}
