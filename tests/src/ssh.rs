//! A real sshd on the loopback interface of a world, and the real clients.

use std::time::Duration;

use crate::terminal::Terminal;
use crate::world::{Ran, World};

/// Appended to what a test asks for; in sshd_config the first value wins.
const SSHD_CONFIG: &str = "\
Port 22
ListenAddress 0.0.0.0
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication yes
PidFile none
LogLevel VERBOSE
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
";

/// Where the server is, and an address of the same machine that is not loopback.
pub const SERVER: &str = "127.0.0.1";
const OTHER_SERVER: &str = "192.0.2.1";

/// The server in the network of [`World::client_network`].
pub const NETWORK_SERVER: &str = "198.51.100.1";
const NETWORK_SERVER_IPV6: &str = "2001:db8:1::1";

/// Makes that network, with the clients' addresses as arguments.
const CLIENT_NETWORK: &str = "
    ip netns add clients
    ip link add name server type veth peer name client netns clients
    ip address add 198.51.100.1/24 dev server
    ip address add 2001:db8:1::1/48 dev server nodad
    ip link set server up
    ip -n clients link set client up
    for address; do
        case $address in
            *:*) ip -n clients address add $address/48 dev client nodad ;;
            *) ip -n clients address add $address/24 dev client ;;
        esac
    done";
/// Leads into it.
const AMONG_CLIENTS: &[&str] = &["nsenter", "--net=/run/netns/clients"];

/// OpenSSH's own security key of software: the private half is in a file, and it always says that it was touched.
pub const SOFT_KEY: &str = "/usr/lib/openssh/sk-dummy.so";

/// One start of `ssh`, `sftp` or `scp`.
pub struct Client<'w> {
    world: &'w World,
    user: String,
    server: &'static str,
    /// What its command line begins with.
    place: &'static [&'static str],
    options: Vec<String>,
}

impl World {
    /// Starts sshd with these settings in front of the usual ones, and waits until it listens.
    pub fn start_sshd(self, config: &str) -> Self {
        self.start_sshd_in(config, &[])
    }

    /// The same in an environment with these settings.
    pub fn start_sshd_in(mut self, config: &str, environment: &[&str]) -> Self {
        // What follows a Match belongs to it, so the usual settings go before the first one.
        let (global, conditional) = config.split_at(config.find("Match ").unwrap_or(config.len()));
        let penalties = if self.knows_penalties() { "PerSourcePenalties no\n" } else { "" };
        self.write("/etc/ssh/sshd_config", &format!("{global}\n{penalties}{SSHD_CONFIG}{conditional}\n"));
        let key =
            std::fs::read_to_string(self.path("/etc/ssh/ssh_host_ed25519_key.pub")).expect("a host key");
        self.write("/etc/ssh/ssh_known_hosts", &format!("* {key}"));
        self.run(&["/usr/sbin/sshd", "-t"]).ok();
        self.daemon(&[&["env"], environment, &["/usr/sbin/sshd", "-D"]].concat());
        self.log.expect("Server listening on");
        self
    }

    /// Starts sshd with the settings that the distribution gives it, and those of the drop-ins.
    pub fn start_own_sshd(mut self) -> Self {
        let key =
            std::fs::read_to_string(self.path("/etc/ssh/ssh_host_ed25519_key.pub")).expect("a host key");
        self.write("/etc/ssh/ssh_known_hosts", &format!("* {key}"));
        let mut command = vec!["/usr/sbin/sshd", "-D"];
        // Here all clients have the same address.
        if self.knows_penalties() {
            command.extend(["-o", "PerSourcePenalties=no"]);
        }
        self.daemon(&command);
        self.log.expect("Server listening on");
        self
    }

    /// Makes a key pair and lets it log in to these users. The client uses it after [`Client::key`].
    pub fn authorize_key(self, users: &[&str]) -> Self {
        self.run(&[
            "sh",
            "-c",
            "mkdir -pm 700 /root/.ssh && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/key",
        ])
        .ok();
        for user in users {
            let install = format!(
                "home=$(eval echo ~{user}) && install -d -m 700 -o {user} $home/.ssh && install -m 600 -o {user} /root/.ssh/key.pub $home/.ssh/authorized_keys"
            );
            self.run(&["sh", "-c", &install]).ok();
        }
        self
    }

    /// Makes a key pair `/root/.ssh/NAME` in a security key of software; `arguments` are ssh-keygen's. Returns the
    /// public half, as a line of authorized_keys.
    pub fn security_key(&self, name: &str, arguments: &[&str]) -> String {
        self.run(&["mkdir", "-pm", "700", "/root/.ssh"]).ok();
        let file = format!("/root/.ssh/{name}");
        let provider = format!("SSH_SK_PROVIDER={SOFT_KEY}");
        let make = ["env", &provider, "ssh-keygen", "-q", "-N", "", "-C", name, "-f", &file];
        self.run(&[&make, arguments].concat()).ok();
        std::fs::read_to_string(self.path(&format!("{file}.pub"))).expect("a key just made")
    }

    /// These are the lines of `user`'s authorized_keys.
    pub fn authorized_keys(&self, user: &str, lines: &str) {
        let install = r#"home=$(getent passwd "$1" | cut -d: -f6) && install -d -m 700 -o "$1" "$home/.ssh" &&
            cat >"$home/.ssh/authorized_keys" && chown "$1" "$home/.ssh/authorized_keys""#;
        self.run_with_input(&["sh", "-c", install, "sh", user], lines).ok();
    }

    /// Gives the machine another address, for clients that come [`Client::from`] it.
    pub fn address(self, address: &str) -> Self {
        for address in [OTHER_SERVER, address] {
            self.run(&["ip", "address", "replace", &format!("{address}/32"), "dev", "lo"]).ok();
        }
        self
    }

    /// A network of clients with these addresses, in 198.51.100.0/24 and 2001:db8:1::/48: other machines', for all
    /// that this one can see. Clients come [`Client::over_network`].
    pub fn client_network(self, addresses: &[&str]) -> Self {
        self.run(&[&["sh", "-ec", CLIENT_NETWORK, "sh"], addresses].concat()).ok();
        self
    }

    /// A client that logs in as `user`.
    pub fn ssh(&self, user: &str) -> Client<'_> {
        Client { world: self, user: user.to_owned(), server: SERVER, place: &[], options: Vec::new() }
    }

    /// Waits until none of sshd's children is left.
    #[track_caller]
    pub fn expect_no_connection(&self, within: Duration) {
        self.expect_none_running(is_connection, within);
    }

    /// Since 9.8 sshd ignores an address for a while after failures, and tests fail a lot.
    fn knows_penalties(&self) -> bool {
        self.run(&["/usr/sbin/sshd", "-t", "-o", "PerSourcePenalties=no"]).code == Some(0)
    }
}

impl Client<'_> {
    /// Offers the key of [`World::authorize_key`].
    pub fn key(self) -> Self {
        self.option("IdentityFile=/root/.ssh/key").option("IdentitiesOnly=yes")
    }

    /// Offers the key of [`World::security_key`] with this name, and no other.
    pub fn security_key(self, name: &str) -> Self {
        self.option(&format!("SecurityKeyProvider={SOFT_KEY}"))
            .option(&format!("IdentityFile=/root/.ssh/{name}"))
            .option("IdentitiesOnly=yes")
    }

    /// Any setting of ssh_config.
    pub fn option(mut self, setting: &str) -> Self {
        self.options.extend(["-o".to_owned(), setting.to_owned()]);
        self
    }

    /// Comes from an address given by [`World::address`].
    pub fn from(mut self, address: &str) -> Self {
        self.server = OTHER_SERVER;
        self.option(&format!("BindAddress={address}"))
    }

    /// Comes from another machine, with an address given by [`World::client_network`].
    pub fn over_network(mut self, address: &str) -> Self {
        self.server = if address.contains(':') { NETWORK_SERVER_IPV6 } else { NETWORK_SERVER };
        self.place = AMONG_CLIENTS;
        self.option(&format!("BindAddress={address}"))
    }

    /// Logs in on a terminal and runs `command`.
    pub fn spawn(&self, command: &str) -> Terminal {
        self.terminal("ssh", &[&self.target(), command])
    }

    /// Logs in on a terminal and gets a shell.
    pub fn shell(&self) -> Terminal {
        self.terminal("ssh", &[&self.target()])
    }

    /// Logs in on a terminal, forwards a port and runs nothing (`-N`).
    pub fn forward(&self) -> Terminal {
        self.terminal("ssh", &["-N", "-L", "8080:127.0.0.1:22", &self.target()])
    }

    /// `sftp`, on a terminal.
    pub fn sftp(&self) -> Terminal {
        self.terminal("sftp", &[&self.target()])
    }

    /// `scp` of a file to the user's home, on a terminal.
    pub fn scp(&self, file: &str) -> Terminal {
        self.terminal("scp", &[file, &format!("{}:", self.target())])
    }

    /// `rsync` of a local file to the user's home, on a terminal.
    pub fn rsync(&self, file: &str) -> Terminal {
        let ssh = self.words("ssh").join(" ");
        self.world.terminal(&["rsync", "-e", &ssh, file, &format!("{}:", self.target())])
    }

    /// Logs in without any terminal, as cron would.
    pub fn run(&self, command: &str) -> Ran {
        self.world.run(&[self.words("ssh"), vec![&self.target(), command]].concat())
    }

    /// `scp` of a file to the user's home, without any terminal.
    pub fn run_scp(&self, file: &str) -> Ran {
        self.world.run(&[self.words("scp"), vec![file, &format!("{}:", self.target())]].concat())
    }

    /// `sftp` without any terminal, which reads these commands.
    pub fn run_sftp(&self, commands: &str) -> Ran {
        self.world.run_with_input(&[self.words("sftp"), vec![&self.target()]].concat(), commands)
    }

    /// What a person would type to start it, without the settings that only keep a test short.
    pub fn display(&self, command: &str) -> String {
        let typed = |option: &String| match option.split_once('=')? {
            ("IdentityFile", file) => Some(format!("-i {file} ")),
            ("Port", port) => Some(format!("-p {port} ")),
            _ => None,
        };
        let options: String = self.options.iter().filter_map(typed).collect();
        format!("ssh {options}{} {command}", self.target())
    }

    fn terminal(&self, program: &str, rest: &[&str]) -> Terminal {
        self.world.terminal(&[self.words(program).as_slice(), rest].concat())
    }

    fn target(&self) -> String {
        format!("{}@{}", self.user, self.server)
    }

    fn words<'a>(&'a self, program: &'a str) -> Vec<&'a str> {
        let start = self.place.iter().copied().chain([program, "-F", "none"]);
        start.chain(self.options.iter().map(String::as_str)).collect()
    }
}

/// sshd names its processes after the connection: `sshd: alice [pam]`, and `sshd-session:` since 9.8.
fn is_connection(command: &str) -> bool {
    (command.starts_with("sshd: ") && !command.contains("[listener]"))
        || command.starts_with("sshd-session: ")
}
