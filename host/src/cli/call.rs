//! `tms call`: one call to a running server, for trying a model out.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use clap::Args;
use tonic::{
    Request,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

use crate::grpc::proto::server::{ImageArgs, NumpyImage, TextArgs, server_client::ServerClient};

#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("data").required(true))]
pub struct CallArgs {
    /// The model's name
    pub model: String,

    /// Send this text
    #[arg(long, group = "data")]
    pub text: Option<String>,

    /// Send the pixels of this picture (JPEG or PNG)
    #[arg(long, group = "data", value_name = "PATH")]
    pub image: Option<PathBuf>,

    /// Arguments for the model, as JSON, such as '{"limit": 3}' [default: none]
    #[arg(long, value_name = "JSON")]
    pub args: Option<String>,

    /// Address and port of the server, or its Unix socket, such as unix:/run/tms.sock
    #[arg(
        long,
        default_value = "127.0.0.1:50000",
        env = "TMS_ADDRESS",
        value_name = "ADDRESS:PORT"
    )]
    pub address: String,

    /// Speak TLS
    #[arg(long)]
    pub tls: bool,

    /// File with the authorities of the server's certificate, in PEM [default: the system's]
    #[arg(long, value_name = "PATH", requires = "tls")]
    pub tls_ca: Option<PathBuf>,

    /// Name that the server's certificate has, where that is not the address
    #[arg(long, value_name = "NAME", requires = "tls")]
    pub tls_name: Option<String>,

    /// File with a certificate to show to the server, in PEM
    #[arg(long, value_name = "PATH", requires_all = ["tls", "tls_key"])]
    pub tls_cert: Option<PathBuf>,

    /// File with that certificate's private key, in PEM
    #[arg(long, value_name = "PATH", requires_all = ["tls", "tls_cert"])]
    pub tls_key: Option<PathBuf>,
}

impl CallArgs {
    /// How TLS is spoken.
    fn tls(&self) -> Result<ClientTlsConfig, Error> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|e| Error::Tls(format!("`{}`: {e}", path.display())))
        };
        let mut tls = match &self.tls_ca {
            Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some(name) = &self.tls_name {
            tls = tls.domain_name(name);
        }
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        Ok(tls)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the picture {path} cannot be read: {problem}")]
    Picture { path: String, problem: String },
    #[error("TLS: {0}")]
    Tls(String),
    #[error("`{0}` is not an address such as 127.0.0.1:50000 or unix:/run/tms.sock")]
    Address(String),
    #[error(
        "no server answers at {address}: start one with `tms serve`, or name another with --address ({problem})"
    )]
    Connect { address: String, problem: String },
    #[error("{code:?}: {message}")]
    Refused { code: tonic::Code, message: String },
}

/// The model's answer: JSON.
pub async fn call(args: CallArgs) -> Result<String, Error> {
    let image = args.image.as_deref().map(picture).transpose()?;
    let address = Error::Address(args.address.clone());
    let url = match args.address.starts_with("unix:") {
        true => args.address.clone(),
        false if args.tls => format!("https://{}", args.address),
        false => format!("http://{}", args.address),
    };
    let mut endpoint = Endpoint::from_shared(url).map_err(|_| address)?;
    if args.tls {
        let wrong = |e: tonic::transport::Error| Error::Tls(whole(&e));
        endpoint = endpoint.tls_config(args.tls()?).map_err(wrong)?;
    }
    let channel = endpoint
        .connect()
        .await
        .map_err(|e| Error::Connect { address: args.address.clone(), problem: whole(&e) })?;
    let mut client = ServerClient::new(channel)
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let (model, text) = (args.model, args.text.unwrap_or_default());
    let args = args.args.unwrap_or_default();
    let reply = match image {
        Some(image) => {
            let image = Some(image);
            client.run_image(Request::new(ImageArgs { image, model, args, sequence: None })).await
        }
        None => client.run_text(Request::new(TextArgs { text, model, args, sequence: None })).await,
    };
    match reply {
        Ok(reply) => Ok(reply.into_inner().data),
        Err(status) => {
            Err(Error::Refused { code: status.code(), message: status.message().to_owned() })
        }
    }
}

/// The reason of an error, which its causes say, and it itself does not.
fn whole(error: &tonic::transport::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let said = next.to_string();
        if causes.last() != Some(&said) {
            causes.push(said);
        }
        cause = next.source();
    }
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

/// A picture's pixels as the server takes them: grey stays grey, all else is RGB or RGBA.
fn picture(path: &std::path::Path) -> Result<NumpyImage, Error> {
    use image::{ColorType, DynamicImage};
    let fail = |problem: String| Error::Picture { path: path.display().to_string(), problem };
    let picture = image::ImageReader::open(path)
        .and_then(|reader| reader.with_guessed_format())
        .map_err(|e| fail(e.to_string()))?
        .decode()
        .map_err(|e| fail(e.to_string()))?;
    let (height, width) = (picture.height(), picture.width());
    let (channels, data) = match picture.color() {
        ColorType::L8 | ColorType::L16 => (1, picture.into_luma8().into_raw()),
        color if color.has_alpha() => (4, DynamicImage::into_rgba8(picture).into_raw()),
        _ => (3, picture.into_rgb8().into_raw()),
    };
    Ok(NumpyImage {
        height: height as i32,
        width: width as i32,
        channels,
        data: Bytes::from(data),
        dtype: "uint8".into(),
    })
}
