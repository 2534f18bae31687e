//! gRPC clients, and the messages that they send.

use serde_json::Value;
use tms::grpc::proto::{
    inference::grpc_inference_service_client::GrpcInferenceServiceClient,
    server::{
        BatchImageArgs, BatchTextArgs, EmptyArgs, ImageArgs, ImageResponse, NumpyImage, Response,
        StringArg, TextArgs, server_client::ServerClient,
    },
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::health_client::HealthClient;

/// The answer to a call that gives JSON.
pub type Answer = Result<Value, Status>;

/// One connection. Clones share it.
#[derive(Clone)]
pub struct Caller {
    channel: Channel,
}

impl Caller {
    pub async fn connect(port: u16) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        Self::on(endpoint.connect().await.unwrap())
    }

    pub fn on(channel: Channel) -> Self {
        Self { channel }
    }

    pub fn server(&self) -> ServerClient<Channel> {
        ServerClient::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }

    pub fn inference(&self) -> GrpcInferenceServiceClient<Channel> {
        GrpcInferenceServiceClient::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }

    pub fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub async fn text(&self, model: &str, text: &str, args: &str) -> Answer {
        let request = TextArgs {
            text: text.into(),
            model: model.into(),
            args: args.into(),
            ..TextArgs::default()
        };
        json(self.server().run_text(request).await)
    }

    pub async fn texts(&self, model: &str, texts: &[&str], args: &str) -> Answer {
        let request = BatchTextArgs {
            texts: texts.iter().map(|text| (*text).into()).collect(),
            model: model.into(),
            args: args.into(),
        };
        json(self.server().run_batch_text(request).await)
    }

    pub async fn image(&self, model: &str, image: NumpyImage) -> Result<Response, Status> {
        let request = ImageArgs {
            image: Some(image),
            model: model.into(),
            args: String::new(),
            ..ImageArgs::default()
        };
        Ok(self.server().run_image(request).await?.into_inner())
    }

    pub async fn image_to_image(
        &self,
        model: &str,
        image: NumpyImage,
        args: &str,
    ) -> Result<ImageResponse, Status> {
        let request = ImageArgs {
            image: Some(image),
            model: model.into(),
            args: args.into(),
            ..ImageArgs::default()
        };
        Ok(self.server().run_image_to_image(request).await?.into_inner())
    }

    pub async fn images(&self, model: &str, images: Vec<NumpyImage>) -> Result<Response, Status> {
        let request = BatchImageArgs { images, model: model.into(), args: String::new() };
        Ok(self.server().run_batch_image(request).await?.into_inner())
    }

    /// The guest `faults`, told what to do, such as `"do": "panic"`.
    pub async fn fault(&self, what: &str) -> Answer {
        self.text("faults", "", &format!("{{{what}}}")).await
    }

    pub async fn list_models(&self) -> Value {
        json(self.server().list_models(EmptyArgs {}).await).unwrap()
    }

    pub async fn input_shape(&self, model: &str) -> Answer {
        let data = model.into();
        json(self.server().get_input_shape(StringArg { data }).await)
    }

    pub async fn pid(&self) -> u64 {
        let data = json(self.server().get_pid(EmptyArgs {}).await).unwrap();
        data["pid"].as_u64().unwrap()
    }

    pub async fn workers(&self) -> u64 {
        let data = json(self.server().get_num_parallel_workers(EmptyArgs {}).await).unwrap();
        data["num_workers"].as_u64().unwrap()
    }

    pub async fn stop(&self) -> Answer {
        json(self.server().stop_server(EmptyArgs {}).await)
    }
}

/// `Response.data`, which is always JSON.
pub fn json(reply: Result<tonic::Response<Response>, Status>) -> Answer {
    Ok(serde_json::from_str(&reply?.into_inner().data).expect("data is JSON"))
}

/// An image of `data`, which need not fit.
pub fn image(height: i32, width: i32, channels: i32, dtype: &str, data: Vec<u8>) -> NumpyImage {
    NumpyImage { height, width, channels, data: data.into(), dtype: dtype.into() }
}

/// A uint8 image of the size given, with distinct pixels.
pub fn pixels(height: i32, width: i32, channels: i32) -> NumpyImage {
    let data = (0..height * width * channels).map(|i| (i * 31 % 251) as u8);
    image(height, width, channels, "uint8", data.collect())
}

/// The call must have failed, in these words.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, message: &str) {
    let status = result.expect_err("the call was answered");
    assert_eq!((status.code(), status.message()), (code, message));
}
