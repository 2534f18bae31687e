//! The process that compiles, from its start to its answer: `tms child compile`. It trusts the server
//! that started it, and nothing in the component.

use std::{
    env,
    error::Error,
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    process, thread,
};

use serde::{Deserialize, Serialize};

use crate::child::{
    channel::Blocking,
    confine::{Confinement, confine},
    output,
    region::Lent,
};

use super::work::{self, Form, Order};

/// The word behind `tms child`.
pub const WORK: &str = "compile";

/// The child's only message.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// So many bytes of code are in the file that was sent for it.
    Made { length: u64 },
    /// Why there is none.
    Refused(String),
}

/// Does what the server asks for over the socket.
pub fn run(socket: OwnedFd) -> Result<(), Box<dyn Error>> {
    let mut channel = Blocking::new(socket);
    let Some(confinement) = channel.receive::<Confinement>()? else { return Ok(()) };
    let lacking = confine(&confinement)?;
    output::start("warn")?;
    for lacking in lacking {
        tracing::debug!("{lacking}");
    }
    let Some(order) = channel.receive::<Order>()? else { return Ok(()) };
    let component = channel.descriptor()?;
    let mut target = File::from(channel.descriptor()?);
    let memories = match order.form {
        Form::Started(_) => channel.descriptor().ok(),
        _ => None,
    };
    // SAFETY: this is the process's only thread, so that nobody reads the environment meanwhile.
    #[allow(unsafe_code)]
    unsafe {
        env::set_var("RAYON_NUM_THREADS", order.threads.to_string());
    }
    let mut sender = channel.sender()?;
    // The server has nothing more to say: what comes is the end, its own or this process's.
    thread::Builder::new().name("tms-end".into()).spawn(move || {
        let _ = channel.receive::<()>();
        process::exit(0);
    })?;
    let answer = match compile(&order, &component, memories.as_ref()) {
        Ok(code) => {
            target.write_all(&code)?;
            Answer::Made { length: code.len() as u64 }
        }
        Err(reason) => Answer::Refused(reason),
    };
    Ok(sender.send(&answer)?)
}

fn compile(
    order: &Order,
    component: &OwnedFd,
    memories: Option<&OwnedFd>,
) -> Result<Vec<u8>, String> {
    let unreadable = |e: io::Error| format!("what was sent to be compiled cannot be read: {e}");
    let length = File::from(component.try_clone().map_err(unreadable)?).metadata();
    let length = usize::try_from(length.map_err(unreadable)?.len()).unwrap_or(usize::MAX);
    let component = Lent::map(component).map_err(unreadable)?;
    let memories = memories.map(Lent::map).transpose().map_err(unreadable)?;
    let bytes = component.bytes(0, length).unwrap_or_default();
    work::compile(order, bytes, memories.as_ref())
}
