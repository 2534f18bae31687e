//! The two calls that are measured, around whatever work is behind them.

use std::future::Future;

use tms::grpc::proto::server::{
    BatchImageArgs, BatchImageResponse, BatchTextArgs, EmptyArgs, EncodedArgs, ImageArgs,
    ImageResponse, NumpyImage, Response, RunArgs, StringArg, TextArgs, server_server::Server,
};
use tokio_stream::Empty;
use tonic::{Request, Status, Streaming};

/// What is done for a call: its result as JSON.
pub trait Work: Send + Sync + 'static {
    fn text(&self, args: TextArgs) -> impl Future<Output = Result<String, Status>> + Send;
    fn image(
        &self,
        image: NumpyImage,
        args: ImageArgs,
    ) -> impl Future<Output = Result<String, Status>> + Send;
}

pub struct Service<W>(pub W);

type Reply = Result<tonic::Response<Response>, Status>;

fn reply(data: Result<String, Status>) -> Reply {
    Ok(tonic::Response::new(Response { data: data?, ..Response::default() }))
}

fn unused<T>() -> Result<T, Status> {
    Err(Status::unimplemented("the benches do not use this call"))
}

#[tonic::async_trait]
impl<W: Work> Server for Service<W> {
    async fn run_text(&self, request: Request<TextArgs>) -> Reply {
        reply(self.0.text(request.into_inner()).await)
    }

    async fn run_image(&self, request: Request<ImageArgs>) -> Reply {
        let mut args = request.into_inner();
        let image = args.image.take();
        let image = image.ok_or_else(|| Status::invalid_argument("no image"))?;
        reply(self.0.image(image, args).await)
    }

    async fn run_batch_text(&self, _: Request<BatchTextArgs>) -> Reply {
        unused()
    }

    async fn run_batch_image(&self, _: Request<BatchImageArgs>) -> Reply {
        unused()
    }

    async fn list_models(&self, _: Request<EmptyArgs>) -> Reply {
        unused()
    }

    async fn get_input_shape(&self, _: Request<StringArg>) -> Reply {
        unused()
    }

    async fn get_pid(&self, _: Request<EmptyArgs>) -> Reply {
        unused()
    }

    async fn get_num_parallel_workers(&self, _: Request<EmptyArgs>) -> Reply {
        unused()
    }

    async fn stop_server(&self, _: Request<EmptyArgs>) -> Reply {
        unused()
    }

    async fn run_image_to_image(
        &self,
        _: Request<ImageArgs>,
    ) -> Result<tonic::Response<ImageResponse>, Status> {
        unused()
    }

    async fn run_batch_image_to_image(
        &self,
        _: Request<BatchImageArgs>,
    ) -> Result<tonic::Response<BatchImageResponse>, Status> {
        unused()
    }

    async fn run_encoded(&self, _: Request<EncodedArgs>) -> Reply {
        unused()
    }

    type RunStreamStream = Empty<Result<Response, Status>>;

    async fn run_stream(
        &self,
        _: Request<RunArgs>,
    ) -> Result<tonic::Response<Self::RunStreamStream>, Status> {
        unused()
    }

    type RunSessionStream = Empty<Result<Response, Status>>;

    async fn run_session(
        &self,
        _: Request<Streaming<RunArgs>>,
    ) -> Result<tonic::Response<Self::RunSessionStream>, Status> {
        unused()
    }
}
