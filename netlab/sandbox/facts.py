"""What PID 1 found out about its own sandbox at start; its forks inherit it."""

# In a user namespace (then overlayfs needs `userxattr`, and some ids are not mapped).
user_namespace = False
# The lab's /proc shows the lab's processes (a masked /proc outside can forbid to mount it; then it is the machine's).
own_proc = True
# A mount namespace with the machine's mounts and the lab's /run, but none of the thousands of mounts that the lab makes
# later (/run/netns/*): containers' mount namespaces are copies of this one. Descriptor, -1 before the start.
template_fd = -1
# Where the kernel keeps this process's arguments and environment, (start, end) addresses each: what `ps` shows.
arguments = (0, 0)
environment = (0, 0)
