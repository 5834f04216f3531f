//! The few calls that no crate wraps safely. The only `unsafe` of the house; each block says why it holds.
#![allow(unsafe_code, reason = "this file is what the rest of the house does without it for")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Makes the calling thread real-time (round robin), and whatever it forks ordinary again.
pub fn real_time(priority: i32) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameter outlives the call; 0 is the calling thread.
    let failed = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameter)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps what is touched from now on in memory.
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: it takes flags only. MCL_ONFAULT: what is never touched needs no memory.
    let failed = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

mod watchdog {
    /// The kernel's `struct watchdog_info`.
    #[repr(C)]
    pub(super) struct Info {
        pub(super) options: u32,
        firmware: u32,
        identity: [u8; 32],
    }

    /// `WDIOF_MAGICCLOSE`: closed without a farewell, it counts on.
    pub(super) const MAGIC_CLOSE: u32 = 0x0100;

    nix::ioctl_read!(support, b'W', 0, Info);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, nix::libc::c_int);
    nix::ioctl_read!(timeout, b'W', 7, nix::libc::c_int);
}

/// Whether an open watchdog counts on when the program that has it dies.
pub fn watchdog_outlives_its_user(device: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: every field is a number or an array of numbers, for which zero is a value.
    let mut info: watchdog::Info = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `watchdog_info`, which outlives the call.
    unsafe { watchdog::support(device.as_raw_fd(), &raw mut info) }?;
    Ok(info.options & watchdog::MAGIC_CLOSE != 0)
}

/// After how many seconds an open watchdog resets the machine.
pub fn watchdog_timeout(device: BorrowedFd<'_>) -> io::Result<i32> {
    let mut seconds = 0;
    // SAFETY: the kernel writes one int, which outlives the call.
    unsafe { watchdog::timeout(device.as_raw_fd(), &raw mut seconds) }?;
    Ok(seconds)
}

/// Sets after how many seconds an open watchdog resets the machine, and feeds it; the device says which number it took.
pub fn set_watchdog(device: BorrowedFd<'_>, seconds: i32) -> io::Result<i32> {
    let mut seconds = seconds;
    // SAFETY: the kernel reads and writes one int, which outlives the call.
    unsafe { watchdog::set_timeout(device.as_raw_fd(), &raw mut seconds) }?;
    Ok(seconds)
}

/// A packet socket on one interface for one kind of frame (an `ETH_P_*` number), which never blocks. It is opened for no
/// protocol and then bound, so that no frame of another interface gets in between.
pub fn packet_socket(interface: u32, protocol: u16) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None::<SockProtocol>)?;
    let address = link_address(interface, protocol)?;
    // SAFETY: the address is a whole sockaddr_ll of the size that is passed.
    let failed = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default(),
        )
    };
    if failed == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

fn link_address(interface: u32, protocol: u16) -> io::Result<libc::sockaddr_ll> {
    // SAFETY: every field is a number or an array of numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(address)
}

/// Lets only those frames in that a classic BPF program accepts; each instruction is (code, jump if true, jump if false,
/// operand).
pub fn attach_filter(socket: BorrowedFd<'_>, program: &[(u16, u8, u8, u32)]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> =
        program.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the program points to `filter`, which outlives the call; the kernel copies and checks it.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or_default(),
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets frames to this group of Ethernet into an interface, or no longer. It outlives this process, and may be said twice.
pub fn take_group(interface: &str, group: [u8; 6], takes: bool) -> io::Result<()> {
    let socket =
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None::<SockProtocol>)?;
    // SAFETY: every field is a number or an array of numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    if interface.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = libc::c_char::from_ne_bytes([byte]);
    }
    // SAFETY: as above; AF_UNSPEC is zero.
    let mut hardware: libc::sockaddr = unsafe { std::mem::zeroed() };
    for (to, byte) in hardware.sa_data.iter_mut().zip(group) {
        *to = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_hwaddr = hardware;
    let what = if takes { libc::SIOCADDMULTI } else { libc::SIOCDELMULTI };
    // SAFETY: the kernel reads one ifreq, which outlives the call.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw const request) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A socket that tasks of a runtime wait for. It must not block.
#[derive(Debug)]
pub struct Awaited(AsyncFd<OwnedFd>);

impl Awaited {
    /// Made in a runtime, which it is waited for in.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        // SAFETY: an owned descriptor is open and is the same until it is dropped, and nobody gets a mutable reference to
        // this one, with which he could exchange it.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Looks as often as there may be something to read, until that is so.
    pub async fn read<T>(&self, mut look: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.0.async_io(Interest::READABLE, |_| look()).await
    }
}

impl AsRawFd for Awaited {
    fn as_raw_fd(&self) -> RawFd {
        self.0.get_ref().as_raw_fd()
    }
}

/// Sends multicast of IPv4 over the interface with this index.
pub fn multicast_interface(socket: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    let request = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: 0 },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
    };
    // SAFETY: the option is a whole ip_mreqn of the size that is passed.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MULTICAST_IF,
            (&raw const request).cast(),
            libc::socklen_t::try_from(size_of::<libc::ip_mreqn>()).unwrap_or_default(),
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The program is killed when the thread that starts it ends, and with it when this process ends in any way. It begins
/// with no signal held back.
pub fn die_with_this_thread(command: &mut Command) {
    let arrange = || {
        // SAFETY: it takes numbers only. It is async-signal-safe, which is all that is allowed between fork and exec.
        let failed = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above; a signal set is numbers, for which zero is a value, and the empty set.
        let failed = unsafe {
            let none: libc::sigset_t = std::mem::zeroed();
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut())
        };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure allocates nothing, takes no lock and makes two system calls.
    unsafe { command.pre_exec(arrange) };
}
