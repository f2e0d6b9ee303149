"""The other end of the guest's network card: a small TCP/IP of our own, without any I/O.

The guest's kernel sends Ethernet frames, and gets some. What it connects to is found out by who
uses the :class:`~browsermount.network.stack.Stack`: real sockets on the command line, the
browser's fetch in the page. The link between the two is memory: it loses nothing and keeps the
order, so that there is no congestion control and no reassembly here.
"""
