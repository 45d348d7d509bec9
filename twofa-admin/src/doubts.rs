//! What a valid policy may still get wrong about this host: names that nobody has.

use std::path::Path;
use twofa::config::Config;
use twofa::policy::Who;
use twofa::system;

/// Where Linux-PAM looks for the file of a service.
const PAM_FOLDERS: [&str; 3] = ["/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d"];

/// One sentence a doubt.
pub(crate) fn about(config: &Config) -> Vec<String> {
    let policy = &config.policy;
    let now = system::now();
    let has_file =
        |service: &&String| PAM_FOLDERS.iter().any(|folder| Path::new(folder).join(service).exists());
    let services = policy.services.iter().filter(|service| !has_file(service));
    let mut doubts: Vec<String> = services
        .map(|service| format!("This host has no PAM service `{service}`; check the name."))
        .collect();
    for exemption in policy.exemptions.iter().filter(|exemption| now < exemption.until) {
        match &exemption.who {
            Who::User(name) => {
                if let Ok(None) = system::user(name, [].into_iter()) {
                    doubts.push(format!("The exempted user `{name}` does not exist."));
                }
            }
            Who::Group(name) => {
                // Root is only somebody to ask about: what matters is whether the group can be looked up.
                if let Err(error) = system::user("root", [name.as_str()].into_iter()) {
                    doubts
                        .push(format!("Every login that this exemption could be about is refused: {error}."));
                }
            }
        }
    }
    for exemption in policy.exemptions.iter().filter(|exemption| now >= exemption.until) {
        let (Who::User(name) | Who::Group(name)) = &exemption.who;
        doubts.push(format!("The exemption of `{name}` has ended; remove it."));
    }
    doubts
}
