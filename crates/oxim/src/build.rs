//! Builds all that a configuration describes: routers, transports, authenticators, ACLs, rules. What is wrong anywhere is found here.

use std::sync::Arc;

use oxim_deliver::delivery::Delivery;
use oxim_lang::config::{Config, ConfigError};
use oxim_lang::context::Services;

/// Routers and transports.
///
/// # Errors
/// All that is wrong.
pub(crate) fn delivery(
    config: &Arc<Config>,
    services: &Arc<Services>,
) -> Result<Arc<Delivery>, Vec<ConfigError>> {
    Delivery::build(Arc::clone(config), Arc::clone(services)).map(Arc::new)
}

/// Everything, to find its errors.
///
/// # Errors
/// All that is wrong.
pub(crate) fn all(config: &Arc<Config>) -> Result<(), Vec<ConfigError>> {
    let services = Arc::new(crate::services::make(config, false)?);
    let mut errors = Vec::new();
    if let Err(found) = delivery(config, &services) {
        errors.extend(found);
    }
    if let Err(found) = oxim_receive::acl::Acls::build(config) {
        errors.extend(found);
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
