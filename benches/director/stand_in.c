/*
 * Stands for the kernel's IPVS where there is none: keepalived does not start without. It is loaded before the C library,
 * takes every order for IPVS (ip_vs.h), and does nothing. So what a check costs is measured, and nothing else.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define IP_VS_BASE_CTL (64 + 1024 + 64)
#define IP_VS_OPTIONS 32
/* The same for both ways; its answer begins with version, size of the table and number of services. */
#define IP_VS_SO_GET_INFO (IP_VS_BASE_CTL + 1)

static int is_ipvs(int level, int name)
{
    return level == IPPROTO_IP && name >= IP_VS_BASE_CTL && name < IP_VS_BASE_CTL + IP_VS_OPTIONS;
}

int setsockopt(int socket, int level, int name, const void *value, socklen_t length)
{
    static int (*real)(int, int, int, const void *, socklen_t);
    if (is_ipvs(level, name))
        return 0;
    if (!real)
        real = dlsym(RTLD_NEXT, "setsockopt");
    return real(socket, level, name, value, length);
}

int getsockopt(int socket, int level, int name, void *value, socklen_t *length)
{
    static int (*real)(int, int, int, void *, socklen_t *);
    static const unsigned info[] = { 0x010201, 4096, 0 };
    if (is_ipvs(level, name)) {
        memset(value, 0, *length);
        if (name == IP_VS_SO_GET_INFO && *length >= sizeof info)
            memcpy(value, info, sizeof info);
        return 0;
    }
    if (!real)
        real = dlsym(RTLD_NEXT, "getsockopt");
    return real(socket, level, name, value, length);
}
