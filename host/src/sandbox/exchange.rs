//! Requests as a guest sees them, and what a guest gives, checked against what that may be.

use std::time::Instant;

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout_at};

use crate::{
    data::{ENCODED, Encoded, IMAGE, Input, Kind, NamedTensor, Output, check_json},
    ledger::{Account, Charge, Room},
    nn::{DType, NnError, Tensor},
    text,
};

use super::{
    error::{CallError, one_line},
    host::bindings::types,
    store::{Lent, StoreData},
};

/// Bytes of a media type.
const MEDIA_TYPE: usize = 127;

impl StoreData {
    /// The data of a batch call as the guest sees it: all or none.
    pub fn give_inputs(&mut self, inputs: Vec<Input>) -> Result<Vec<types::Input>, CallError> {
        let mut given: Vec<types::Input> = Vec::with_capacity(inputs.len());
        for input in inputs {
            match self.give_input(input) {
                Ok(input) => given.push(input),
                Err(error) => {
                    // The guest never hears of these, and could not drop them.
                    for input in given {
                        let _ = self.take_tensors(input.tensors);
                    }
                    return Err(error);
                }
            }
        }
        Ok(given)
    }

    /// A request's data as the guest sees it.
    pub fn give_input(&mut self, input: Input) -> Result<types::Input, CallError> {
        let mut given = types::Input {
            kind: match input.kind() {
                Kind::Text => types::Kind::Text,
                Kind::Image => types::Kind::Image,
                Kind::Tensors => types::Kind::Tensors,
                Kind::Encoded => types::Kind::Encoded,
            },
            text: String::new(),
            tensors: Vec::new(),
            media_type: String::new(),
        };
        let tensors = match input {
            Input::Text(text) => {
                given.text = text;
                return Ok(given);
            }
            Input::Image(image) => vec![(IMAGE.to_owned(), image)],
            Input::Tensors(tensors) => tensors,
            Input::Encoded(Encoded { bytes, media_type }) => {
                given.media_type = media_type;
                vec![(ENCODED.to_owned(), bytes)]
            }
        };
        given.tensors = self
            .give_tensors(tensors)
            .map_err(|e| CallError::Caller(format!("the request is too large: {}", one_line(e))))?;
        Ok(given)
    }

    /// What a guest has another model answer. Its tensors go on counting as the guest's for as long as what
    /// `lent` gets is there.
    pub fn take_input(
        &mut self,
        input: types::Input,
        lent: &mut Vec<Lent>,
    ) -> Result<Result<Input, String>, CallError> {
        let lending = self.lend_tensors(input.tensors, lent);
        let mut tensors = lending.map_err(|e| not_there("request", e))?;
        let mut only = |name: &str| match tensors.as_mut_slice() {
            [(given, _)] if given == name => tensors.pop().map(|(_, tensor)| tensor),
            _ => None,
        };
        Ok(match input.kind {
            types::Kind::Text => Ok(Input::Text(input.text)),
            types::Kind::Tensors => Ok(Input::Tensors(tensors)),
            types::Kind::Image => match only(IMAGE) {
                Some(image) if is_image(&image) => Ok(Input::Image(image)),
                _ => Err("an image is one tensor named `image`, of shape [height, width] or \
                          [height, width, channels] and of type u8, fp32 or fp64"
                    .into()),
            },
            types::Kind::Encoded => match (only(ENCODED), media_type(&input.media_type)) {
                (_, None) => Err("its media type is none: it is written as image/png".into()),
                (Some(bytes), Some(media_type)) if is_bytes(&bytes) => {
                    Ok(Input::Encoded(Encoded { bytes, media_type }))
                }
                _ => Err(ENCODED_SHAPE.into()),
            },
        })
    }

    /// A guest's result, checked against what a result may be, with its bytes.
    pub async fn take_output(
        &mut self,
        output: types::Output,
        deadline: Instant,
        worth_charging: usize,
    ) -> Result<(Output, usize), CallError> {
        let tensors = self.take_tensors(output.tensors).map_err(|e| not_there("result", e))?;
        let json = output.json.as_ref().map_or(0, String::len);
        let bytes = tensors
            .iter()
            .map(|(_, tensor)| tensor.byte_length())
            .fold(json, usize::saturating_add);
        // Names are no part of what is asked for, but they travel too.
        let names = tensors.iter().map(|(name, _)| name.len()).fold(0, usize::saturating_add);
        let bytes = bytes.max(names);
        if bytes > self.limits.max_reply {
            return Err(CallError::Model(format!(
                "the model's result of {bytes} bytes exceeds the limit of {} (max_reply)",
                self.limits.max_reply
            )));
        }
        let media_type = match output.media_type {
            Some(named) => Some(result_type(&named, &tensors)?),
            None => None,
        };
        for (_, tensor) in &tensors {
            let fetched = tensor.fetch().await;
            fetched.map_err(|e| match e {
                NnError::NoRoom(no_room) => CallError::NoRoom(no_room),
                lost => CallError::Server(one_line(lost)),
            })?;
        }
        self.account.gives(json);
        let charge = match bytes < worth_charging {
            true => None,
            false => Some(self.charge_output(bytes)?),
        };
        let json = match output.json {
            Some(json) => Some(checked_json(json, deadline).await?),
            None => None,
        };
        Ok((Output { json, tensors, media_type, batch: self.batch, charge }, bytes))
    }

    fn charge_output(&self, bytes: usize) -> Result<Charge, CallError> {
        let mut charge = self.tenant.nothing(Account::Tensors);
        charge.grow(bytes, Room::UnderWay)?;
        Ok(charge)
    }
}

fn not_there(whose: &str, error: impl std::fmt::Display) -> CallError {
    CallError::Model(format!("a {whose}'s tensor is not there: {}", one_line(error)))
}

fn is_image(tensor: &Tensor) -> bool {
    matches!(tensor.dtype(), DType::U8 | DType::F32 | DType::F64)
        && matches!(tensor.shape(), [_, _] | [_, _, _])
}

fn is_bytes(tensor: &Tensor) -> bool {
    tensor.dtype() == DType::U8 && tensor.shape().len() == 1
}

const ENCODED_SHAPE: &str = "a file is one tensor named `encoded`, of shape [bytes] and of type u8";

/// The media type of the file in a result.
fn result_type(named: &str, tensors: &[NamedTensor]) -> Result<String, CallError> {
    let wrong = |why: String| CallError::Model(format!("the model's result is not a file: {why}"));
    let file = tensors.iter().find(|(name, _)| name == ENCODED);
    if !file.is_some_and(|(_, tensor)| is_bytes(tensor)) {
        return Err(wrong(ENCODED_SHAPE.into()));
    }
    media_type(named).ok_or_else(|| {
        let named = text::bounded(named, MEDIA_TYPE).escape_debug().to_string();
        wrong(format!("`{named}` is not a media type"))
    })
}

/// A media type in lower case and without parameters, if it is one.
pub fn media_type(named: &str) -> Option<String> {
    let bare = named.split(';').next().unwrap_or_default().trim();
    let (kind, subtype) = bare.split_once('/')?;
    // RFC 6838, 4.2.
    let is_name = |part: &str| {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&c);
        !part.is_empty() && part.bytes().all(allowed)
    };
    let fits = bare.len() <= MEDIA_TYPE && is_name(kind) && is_name(subtype);
    fits.then(|| bare.to_ascii_lowercase())
}

/// Checks that a result is JSON. What takes long is done beside the workers, one at a time: so it takes
/// the time of one core at most.
async fn checked_json(json: String, deadline: Instant) -> Result<String, CallError> {
    /// A fraction of a millisecond.
    const SHORT: usize = 128 << 10;
    static LONG: Semaphore = Semaphore::const_new(1);
    let wrong =
        |e: String| CallError::Model(format!("the model's result is not JSON: {}", one_line(e)));
    if json.len() <= SHORT {
        return check_json(&json).map(|()| json).map_err(wrong);
    }
    let started = Instant::now();
    let check = async {
        let turn = LONG.acquire().await;
        // The turn lasts as long as the work, also where nobody waits for it any more.
        spawn_blocking(move || {
            let _turn = turn;
            check_json(&json).map(|()| json)
        })
        .await
    };
    match timeout_at(deadline.into(), check).await {
        Ok(Ok(checked)) => checked.map_err(wrong),
        Ok(Err(_)) => Err(CallError::Server("the check of the model's result broke down".into())),
        Err(_) => Err(CallError::Timeout(deadline.saturating_duration_since(started))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_lose_their_parameters() {
        assert_eq!(media_type("Image/JPEG; q=1").as_deref(), Some("image/jpeg"));
        assert_eq!(media_type("audio/vnd.wave").as_deref(), Some("audio/vnd.wave"));
        for bad in ["", "jpeg", "/x", "x/", "a/b/c", "a b/c", &"x/".repeat(200)] {
            assert_eq!(media_type(bad), None, "{bad}");
        }
    }
}
