//! Units for service managers: systemd.service(5), systemd.exec(5), launchd.plist(5).

use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Systemd,
    Launchd,
}

/// That of this system.
pub const DEFAULT: &str = if cfg!(target_os = "macos") { "launchd" } else { "systemd" };

/// The unit as a file.
pub fn text(kind: Kind, program: &Path, server: Option<&str>) -> String {
    let program = program.display();
    let server = server.unwrap_or("https://cadence.example.org");
    match kind {
        Kind::Systemd => format!(
            "\
# Runs coding agents for {server}.
#
#   sudo useradd --system --create-home --home-dir /var/lib/cadence --shell /usr/sbin/nologin cadence
#   sudo install -d -m 0755 /etc/cadence
#   sudo install -m 0600 token /etc/cadence/daemon-token
#   sudo systemctl daemon-reload
#   sudo systemctl enable --now cadence-daemon
[Unit]
Description=cadence daemon: runs coding agents for {server}
Documentation=https://github.com/cadence-dev/cadence
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
WatchdogSec=60
Restart=on-failure
RestartSec=5
# Not let in, or wrong usage: trying again changes nothing.
RestartPreventExitStatus=2 4
ExecStart={program} daemon --server {server} --token-file %d/token --data-dir /var/lib/cadence/daemon
LoadCredential=token:/etc/cadence/daemon-token
# Keys of the agents, as NAME=VALUE lines for root's eyes alone.
EnvironmentFile=-/etc/cadence/daemon.env
User=cadence
Group=cadence
StateDirectory=cadence
StateDirectoryMode=0700
WorkingDirectory=/var/lib/cadence
# The agents' control groups are made below this one.
Delegate=cpu memory pids
DelegateSubgroup=server
KillMode=mixed
TimeoutStopSec=30
UMask=0077
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=no
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
ReadWritePaths=/var/lib/cadence
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target
"
        ),
        Kind::Launchd => format!(
            "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!-- launchctl bootstrap gui/$UID ~/Library/LaunchAgents/dev.cadence.daemon.plist -->
<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">
<plist version=\"1.0\">
<dict>
  <key>Label</key><string>dev.cadence.daemon</string>
  <key>ProgramArguments</key>
  <array>
    <string>{program}</string>
    <string>daemon</string>
    <string>--server</string><string>{server}</string>
    <string>--token-file</string><string>/usr/local/etc/cadence/daemon-token</string>
  </array>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
  <key>ThrottleInterval</key><integer>5</integer>
  <key>ExitTimeOut</key><integer>30</integer>
  <key>ProcessType</key><string>Background</string>
  <key>Umask</key><integer>63</integer>
  <key>StandardErrorPath</key><string>/tmp/cadence-daemon.log</string>
</dict>
</plist>
",
            program = escape(&program.to_string()),
            server = escape(server),
        ),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_whole() {
        let program = Path::new("/usr/local/bin/cadence");
        insta::assert_snapshot!("systemd", text(Kind::Systemd, program, Some("https://c.example/")));
        insta::assert_snapshot!("launchd", text(Kind::Launchd, program, Some("https://c.example/?a=1&b=2")));
    }
}
