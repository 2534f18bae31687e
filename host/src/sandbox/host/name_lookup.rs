//! `wasi:sockets/ip-name-lookup`, with a check in front.

use wasmtime::{
    Result, StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::{
    p2::bindings::sockets::{
        ip_name_lookup::{Host, ResolveAddressStream},
        network::{ErrorCode, Network},
    },
    sockets::WasiSocketsView,
};

use crate::sandbox::store::StoreData;

/// Refuses names that the operator did not grant. WASI's own lookup knows only all names or none:
/// through the names that it looks up, a guest could tell the world what it knows.
pub fn restrict(linker: &mut Linker<StoreData>) -> Result<()> {
    type Resolved = (Result<Resource<ResolveAddressStream>, ErrorCode>,);
    let resolve = |mut store: StoreContextMut<'_, StoreData>,
                   (network, name): (Resource<Network>, String)|
     -> Result<Resolved> {
        let data = store.data_mut();
        if !data.grants.names(&name) {
            return Ok((Err(ErrorCode::AccessDenied),));
        }
        match data.sockets().resolve_addresses(network, name) {
            Ok(stream) => Ok((Ok(stream),)),
            Err(error) => Ok((Err(error.downcast()?),)),
        }
    };
    linker
        .instance("wasi:sockets/ip-name-lookup@0.2.12")?
        .func_wrap("resolve-addresses", resolve)?;
    Ok(())
}
