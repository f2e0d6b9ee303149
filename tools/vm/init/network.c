#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"

/*
 * The addresses are those of src/browsermount/network/addresses.py.  They are
 * set here, and not asked for by DHCP, so that they are in the snapshot.
 */
#define CARD "eth0"
#define ADDRESS "192.168.127.3"
#define NETMASK "255.255.255.0"
#define GATEWAY "192.168.127.1"

void network_give(int namespace)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
		struct rtattr attribute;
		int namespace;
	} request = {
		.header = {.nlmsg_len = sizeof request,
			   .nlmsg_type = RTM_NEWLINK,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.link = {.ifi_family = AF_UNSPEC,
			 .ifi_index = (int)if_nametoindex(CARD)},
		.attribute = {.rta_len = RTA_LENGTH(sizeof(int)),
			      .rta_type = IFLA_NET_NS_FD},
		.namespace = namespace,
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char request[sizeof request];
	} answer;

	if (request.link.ifi_index == 0)
		return;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0 || send(fd, &request, sizeof request, 0) < 0 ||
	    recv(fd, &answer, sizeof answer, 0) < (ssize_t)sizeof answer.header)
		fail_errno(CODE_ENGINE, "move the network card");
	errno = -answer.error.error;
	if (errno)
		fail_errno(CODE_ENGINE, "move the network card");
	close(fd);
}

static struct sockaddr address(const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr result;

	inet_aton(text, &in.sin_addr);
	memcpy(&result, &in, sizeof result);
	return result;
}

static void configure(int own)
{
	struct ifreq request = {.ifr_name = CARD};
	struct rtentry route = {
		.rt_dst = {.sa_family = AF_INET},
		.rt_gateway = address(GATEWAY),
		.rt_genmask = {.sa_family = AF_INET},
		.rt_flags = RTF_UP | RTF_GATEWAY,
	};

	(void)own;
	if (if_nametoindex(CARD) == 0)
		return;
	/*
	 * The host connects to servers that listen at 127.0.0.1 alone, too, from
	 * outside: whoever is inside sees no difference.  No IPv6: programs would
	 * try it first, and wait.
	 */
	if (!write_string("/proc/sys/net/ipv4/conf/" CARD "/route_localnet", "1") ||
	    !write_string("/proc/sys/net/ipv6/conf/" CARD "/disable_ipv6", "1"))
		fail_errno(CODE_ENGINE, "prepare the network card");
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	request.ifr_addr = address(ADDRESS);
	if (fd < 0 || ioctl(fd, SIOCSIFADDR, &request) < 0)
		fail_errno(CODE_ENGINE, "set the network card's address");
	request.ifr_netmask = address(NETMASK);
	if (ioctl(fd, SIOCSIFNETMASK, &request) < 0 ||
	    ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		fail_errno(CODE_ENGINE, "set the network's size");
	request.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		fail_errno(CODE_ENGINE, "bring the network card up");
	if (ioctl(fd, SIOCADDRT, &route) < 0)
		fail_errno(CODE_ENGINE, "set the gateway");
	close(fd);
}

/* Does something in a namespace, and returns to the own one. */
static void within(int namespace, void (*act)(int own))
{
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (own < 0 || setns(namespace, CLONE_NEWNET) < 0)
		fail_errno(CODE_ENGINE, "enter the network namespace");
	act(own);
	if (setns(own, CLONE_NEWNET) < 0)
		fail_errno(CODE_ENGINE, "leave the network namespace");
	close(own);
}

void network_configure(int namespace)
{
	within(namespace, configure);
}

void network_take(int namespace)
{
	within(namespace, network_give);
}
