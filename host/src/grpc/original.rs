//! The calls of the original Tiny Model Server, and ours in its package: those without data. The others are
//! in `runs` and `streams`.

use std::sync::Arc;

use tokio_stream::Empty;
use tonic::{Request, Response as Answer, Status, Streaming};

use crate::config::StopServer;

use super::{
    app::App,
    context::CallContext,
    proto::server::{
        BatchImageArgs, BatchImageResponse, BatchTextArgs, EmptyArgs, EncodedArgs, ImageArgs,
        ImageResponse, Response, RunArgs, StringArg, TextArgs, server_server::Server,
    },
};

pub struct OriginalService(pub Arc<App>);

/// What tonic's server would say, had the layer not answered before.
pub fn answered_before<T>() -> Result<T, Status> {
    Err(Status::internal("calls with data are answered before they come here"))
}

#[tonic::async_trait]
impl Server for OriginalService {
    async fn run_text(&self, _: Request<TextArgs>) -> Result<Answer<Response>, Status> {
        answered_before()
    }

    async fn run_image(&self, _: Request<ImageArgs>) -> Result<Answer<Response>, Status> {
        answered_before()
    }

    async fn run_batch_text(&self, _: Request<BatchTextArgs>) -> Result<Answer<Response>, Status> {
        answered_before()
    }

    async fn run_batch_image(
        &self,
        _: Request<BatchImageArgs>,
    ) -> Result<Answer<Response>, Status> {
        answered_before()
    }

    async fn run_image_to_image(
        &self,
        _: Request<ImageArgs>,
    ) -> Result<Answer<ImageResponse>, Status> {
        answered_before()
    }

    async fn run_batch_image_to_image(
        &self,
        _: Request<BatchImageArgs>,
    ) -> Result<Answer<BatchImageResponse>, Status> {
        answered_before()
    }

    async fn run_encoded(&self, _: Request<EncodedArgs>) -> Result<Answer<Response>, Status> {
        answered_before()
    }

    type RunStreamStream = Empty<Result<Response, Status>>;

    async fn run_stream(
        &self,
        _: Request<RunArgs>,
    ) -> Result<Answer<Self::RunStreamStream>, Status> {
        answered_before()
    }

    type RunSessionStream = Empty<Result<Response, Status>>;

    async fn run_session(
        &self,
        _: Request<Streaming<RunArgs>>,
    ) -> Result<Answer<Self::RunSessionStream>, Status> {
        answered_before()
    }

    async fn list_models(&self, _: Request<EmptyArgs>) -> Result<Answer<Response>, Status> {
        self.0.catalogue.loaded().await;
        let names: Vec<_> = self.0.catalogue.ready().map(|m| m.name.as_str()).collect();
        json(serde_json::json!(names))
    }

    async fn get_input_shape(
        &self,
        request: Request<StringArg>,
    ) -> Result<Answer<Response>, Status> {
        let mut caller = CallContext::of(&request);
        let model = self.0.model(&mut caller, &request.into_inner().data).await?;
        json(serde_json::json!(model.description.input_shape))
    }

    async fn get_pid(&self, request: Request<EmptyArgs>) -> Result<Answer<Response>, Status> {
        let home = CallContext::of(&request).home();
        json(serde_json::json!({"pid": self.0.workers.pid(home)}))
    }

    async fn get_num_parallel_workers(
        &self,
        _: Request<EmptyArgs>,
    ) -> Result<Answer<Response>, Status> {
        json(serde_json::json!({"num_workers": self.0.workers.count()}))
    }

    async fn stop_server(&self, request: Request<EmptyArgs>) -> Result<Answer<Response>, Status> {
        let refused = match self.0.stop_server {
            StopServer::Anyone => None,
            StopServer::Local if CallContext::of(&request).is_local() => None,
            StopServer::Local if CallContext::of(&request).is_web() => {
                Some("StopServer is not taken by HTTP, where any page may speak (local)")
            }
            StopServer::Local => Some("StopServer is for callers on the server's machine (local)"),
            StopServer::Never => Some("StopServer is switched off on this server (never)"),
        };
        if let Some(refused) = refused {
            return Err(Status::permission_denied(format!(
                "{refused}: whoever runs the server can stop it with a signal, or let others stop it \
                 with --stop-server, TMS_STOP_SERVER or stop_server in tms.toml"
            )));
        }
        self.0.stop.cancel();
        json(serde_json::json!({"stopping": true}))
    }
}

fn json(value: serde_json::Value) -> Result<Answer<Response>, Status> {
    Ok(Answer::new(Response { data: value.to_string(), ..Response::default() }))
}
