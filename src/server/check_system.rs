//! `--check-system`: what of this machine would make a server slow, and what to do about it.
//!
//! Invariant: changes nothing, and asks for nothing but files of /proc and /sys. Each line begins with
//! what was looked at in brackets, as redis-server's own check has it; the exit code is 1 if something
//! needs to be seen to, 0 else.

use std::fmt::Write;
use std::fs;
use std::process::ExitCode;

use crate::base::sys;
use crate::ring::Backend;
use crate::ring::kernel::{self, KernelRing};

/// What was found of one thing.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Good(String),
    /// Worth knowing; nothing has to be done.
    Note(String),
    /// What it means, and what to do.
    Bad(String),
}

use Finding::{Bad, Good, Note};

/// Looks at everything.
pub(super) fn run() -> ExitCode {
    let checks: [(&str, fn(&Machine) -> Finding); 14] = [
        ("io_uring", |_| the_ring()),
        ("kernel", kernel_version),
        ("processors", |_| processors()),
        ("overcommit", overcommit),
        ("transparent huge pages", huge_pages),
        ("open files", |_| open_files()),
        ("locked memory", locked_memory),
        ("backlog", backlog),
        ("swap", swap),
        ("clock", clock),
        ("frequency", frequency),
        ("mitigations", mitigations),
        ("NUMA", numa),
        ("network queues", network_queues),
    ];
    let machine = Machine { root: String::new() };
    let mut report = String::new();
    let mut is_good = true;
    for (name, check) in checks {
        let (mark, text) = match check(&machine) {
            Good(text) => ("OK", text),
            Note(text) => ("note", text),
            Bad(text) => {
                is_good = false;
                ("WARNING", text)
            }
        };
        writeln!(report, "[{name}] {mark}: {text}").expect("a String takes all");
    }
    print!("{report}");
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where the files of the system are.
struct Machine {
    root: String,
}

impl Machine {
    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(format!("{}{path}", self.root)).ok().map(|text| text.trim().to_owned())
    }

    fn number(&self, path: &str) -> Option<i64> {
        self.read(path)?.parse().ok()
    }

    /// Names in a folder, in order.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(format!("{}{path}", self.root)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

fn the_ring() -> Finding {
    match kernel::probe() {
        Ok(()) => Good("available".into()),
        Err(error) => Bad(format!(
            "{}; until then epoll is used, at about an eighth more CPU time a request",
            KernelRing::refusal(&error)
        )),
    }
}

fn kernel_version(machine: &Machine) -> Finding {
    let release = machine.read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|word| word.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version {
        (6, 12..) | (7.., _) => {
            Good(format!("{release}: receive buffers are filled piece by piece"))
        }
        (6, 1..) => Note(format!("{release} works; from 6.12 on receive buffers are used better")),
        _ => Bad(format!("{release} is too old for io_uring as used here: run 6.1 or newer")),
    }
}

fn processors() -> Finding {
    let allowed = sys::allowed_processors().len();
    match super::host::cpu_quota() {
        Some(quota) if quota < allowed => Note(format!(
            "{allowed}, but the cgroup's quota is worth {quota}: that many cores are started. A quota stops all cores for the rest of a period: whole processors (cpuset, static CPU manager) give flat tails"
        )),
        _ => Good(format!("{allowed}, no quota below that")),
    }
}

fn overcommit(machine: &Machine) -> Finding {
    match machine.number("/proc/sys/vm/overcommit_memory") {
        Some(2) => Bad(
            "vm.overcommit_memory is 2: memory may be refused while there is some; sysctl -w vm.overcommit_memory=1"
                .into(),
        ),
        _ => Good("snapshots do not fork, so nothing has to be overcommitted".into()),
    }
}

fn huge_pages(machine: &Machine) -> Finding {
    let enabled = machine.read("/sys/kernel/mm/transparent_hugepage/enabled");
    match enabled.as_deref() {
        Some(text) if text.contains("[always]") => Note(
            "always: the server turns them off for itself (disable-thp); for the whole machine: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
                .into(),
        ),
        _ => Good("not forced on anybody".into()),
    }
}

fn open_files() -> Finding {
    const WANTED: u64 = 10_032;
    let granted = sys::raise_open_files(WANTED);
    if granted >= WANTED {
        Good(format!("{granted} or more"))
    } else {
        Bad(format!(
            "{granted}: fewer clients than the usual maxclients of 10000; raise LimitNOFILE or ulimit -n"
        ))
    }
}

fn locked_memory(machine: &Machine) -> Finding {
    let limits = machine.read("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max locked memory"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)).unwrap_or("unknown");
    let few = soft.parse::<u64>().is_ok_and(|bytes| bytes < 8 << 20);
    if few && kernel::probe().is_err() {
        Bad(format!("{soft} bytes may be too little for io_uring here: raise LimitMEMLOCK"))
    } else {
        Good(format!("{soft} bytes"))
    }
}

fn backlog(machine: &Machine) -> Finding {
    const WANTED: i64 = 511;
    match machine.number("/proc/sys/net/core/somaxconn") {
        Some(max) if max < WANTED => Bad(format!(
            "net.core.somaxconn is {max}, less than tcp-backlog: sysctl -w net.core.somaxconn=4096"
        )),
        Some(max) => Good(format!("net.core.somaxconn is {max}")),
        None => Note("net.core.somaxconn cannot be read".into()),
    }
}

fn swap(machine: &Machine) -> Finding {
    let swaps = machine.read("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() <= 1 {
        return Good("none".into());
    }
    match machine.number("/proc/sys/vm/swappiness") {
        Some(swappiness) if swappiness > 10 => Note(format!(
            "on, with vm.swappiness at {swappiness}: a page that is swapped out is a reply that comes late; sysctl -w vm.swappiness=1, and leave room beside maxmemory"
        )),
        _ => Good("on, but hardly used".into()),
    }
}

fn clock(machine: &Machine) -> Finding {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    let Some(source) = machine.read(&format!("{folder}/current_clocksource")) else {
        return Note("cannot be read".into());
    };
    if matches!(
        source.as_str(),
        "tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page"
    ) {
        Good(format!("{source}: read without a system call"))
    } else {
        let known = machine.read(&format!("{folder}/available_clocksource")).unwrap_or_default();
        Bad(format!(
            "{source} needs a system call for each look at the time (there are: {known}); echo tsc > {folder}/current_clocksource"
        ))
    }
}

fn frequency(machine: &Machine) -> Finding {
    match machine.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").as_deref() {
        Some("performance") => Good("governor performance".into()),
        Some(governor) => Note(format!(
            "governor {governor}: an idle processor takes its time to speed up; cpupower frequency-set -g performance"
        )),
        None => Good("not scaled by this system".into()),
    }
}

fn mitigations(machine: &Machine) -> Finding {
    let folder = "/sys/devices/system/cpu/vulnerabilities";
    let active: Vec<String> = machine
        .names(folder)
        .into_iter()
        .filter(|name| {
            let state = machine.read(&format!("{folder}/{name}"));
            state.is_some_and(|state| state.starts_with("Mitigation"))
        })
        .collect();
    if active.is_empty() {
        return Good("none is active".into());
    }
    Note(format!(
        "{}: each system call costs more; on a machine that runs nobody else's code mitigations=off may be a choice",
        active.join(", ")
    ))
}

fn numa(machine: &Machine) -> Finding {
    let nodes = machine.names("/sys/devices/system/node");
    let nodes: Vec<_> = nodes.iter().filter(|name| is_numbered(name, "node")).collect();
    if nodes.len() <= 1 {
        return Good("one node".into());
    }
    Note(format!(
        "{} nodes: keep a server within one: numactl --cpunodebind=0 --membind=0 ironring ..., on the node of its network card",
        nodes.len()
    ))
}

fn network_queues(machine: &Machine) -> Finding {
    let mut cards = Vec::new();
    for card in machine.names("/sys/class/net") {
        // What has no device behind it is no card.
        if machine.names(&format!("/sys/class/net/{card}/device")).is_empty() {
            continue;
        }
        let queues = machine.names(&format!("/sys/class/net/{card}/queues"));
        let count = queues.iter().filter(|name| name.starts_with("rx-")).count();
        cards.push(format!("{card} has {count} to receive"));
    }
    if cards.is_empty() {
        return Good("no card but virtual ones".into());
    }
    let balances = machine.names("/proc").iter().any(|pid| {
        pid.bytes().all(|byte| byte.is_ascii_digit())
            && machine.read(&format!("/proc/{pid}/comm")).as_deref() == Some("irqbalance")
    });
    let moved = if balances {
        "; irqbalance runs and moves interrupts onto the cores: stop it, or ban the cores' processors"
    } else {
        ""
    };
    Note(format!(
        "{}{moved}; give interrupts processors that run no core (docs/OPERATING.md)",
        cards.join(", ")
    ))
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = dir.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let root = dir.path().to_str().expect("text").to_owned();
        (dir, Machine { root })
    }

    #[test]
    fn an_empty_machine_has_nothing_to_warn_of() {
        let (_dir, machine) = machine(&[("/proc/sys/kernel/osrelease", "6.18.4-x\n")]);
        for check in [kernel_version, overcommit, huge_pages, backlog, swap, clock, frequency] {
            assert!(!matches!(check(&machine), Bad(_)));
        }
        for check in [mitigations, numa, network_queues] {
            assert!(matches!(check(&machine), Good(_)));
        }
    }

    #[test]
    fn what_slows_a_server_is_found() {
        let (_dir, machine) = machine(&[
            ("/proc/sys/kernel/osrelease", "5.15.0-91-generic"),
            ("/proc/sys/vm/overcommit_memory", "2\n"),
            ("/proc/sys/net/core/somaxconn", "128"),
            ("/proc/swaps", "Filename\n/swapfile"),
            ("/proc/sys/vm/swappiness", "60"),
            ("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
            ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
            ("/sys/devices/system/cpu/vulnerabilities/spectre_v2", "Mitigation: Retpolines"),
            ("/sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected"),
            ("/sys/devices/system/node/node0/x", ""),
            ("/sys/devices/system/node/node1/x", ""),
            ("/sys/class/net/eth0/device/x", ""),
            ("/sys/class/net/eth0/queues/rx-0/x", ""),
            ("/sys/class/net/eth0/queues/tx-0/x", ""),
            ("/sys/class/net/lo/queues/rx-0/x", ""),
            ("/proc/77/comm", "irqbalance\n"),
        ]);
        for check in [kernel_version, overcommit, backlog, clock] {
            assert!(matches!(check(&machine), Bad(_)));
        }
        for check in [huge_pages, swap, frequency, numa] {
            assert!(matches!(check(&machine), Note(_)));
        }
        let Note(text) = mitigations(&machine) else { panic!("it is active") };
        assert!(text.starts_with("spectre_v2:"), "{text}");
        let Note(text) = network_queues(&machine) else { panic!("there is a card") };
        assert!(text.starts_with("eth0 has 1 to receive; irqbalance runs"), "{text}");
    }
}
