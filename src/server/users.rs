//! The users that the server starts with.
//!
//! Invariant: they come from the configuration or from the ACL file, never from both.

use super::host;
use crate::acl::Users;
use crate::acl::file::{self as acl_file, Declarations};
use crate::commands::server::acl;
use crate::config::Config;
use crate::dispatch::table;
use crate::observe::log;

/// Those of the configuration, or of the ACL file.
pub(super) fn first(config: &Config, declared: &Declarations) -> Result<Users, String> {
    let text = |report: Vec<u8>| String::from_utf8_lossy(&report).into_owned();
    let users = Users::clone(&table::table().first_users(config));
    let defaults = acl::defaults(config);
    if config.aclfile.is_empty() {
        let users = declared.make(users, defaults).map_err(|line| {
            log::warning(text(line));
            "Critical error while loading ACLs. Exiting.".to_owned()
        })?;
        for named in declared.names().filter_map(|name| users.find(name)) {
            if !named.user.is_enabled() {
                let name = String::from_utf8_lossy(&named.name);
                log::notice(format!(
                    "The user '{name}' is disabled (there is no 'on' modifier in the user description). Make sure this is not a configuration error."
                ));
            }
        }
        return Ok(users);
    }
    if !declared.is_empty() {
        return Err("Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid. This setup is very likely to lead to configuration errors and security holes, please define either an ACL file or declare users directly in your redis.conf, but not both.".into());
    }
    let report = |report: String| format!("Aborting Redis startup because of ACL errors: {report}");
    let path = &config.aclfile;
    let content = host::read_file(path).map_err(|reason| {
        let path = String::from_utf8_lossy(path);
        report(format!("Error loading ACLs, opening file '{path}': {reason}"))
    })?;
    let parsed = acl_file::parse(&content, path, users.catalogue(), defaults);
    Ok(users.replace(parsed.map_err(|line| report(text(line)))?))
}
