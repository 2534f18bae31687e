//! ORCA's service out of band: the server's load, for those who do not call it just now.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    load::{EVERY, Load},
    proto::xds::{
        data::orca::v3::OrcaLoadReport,
        service::orca::v3::{OrcaLoadReportRequest, open_rca_service_server::OpenRcaService},
    },
};

pub struct OrcaService {
    pub load: Arc<Load>,
    /// Cancelled when the drain begins: the streams, which have no end of their own, end then.
    pub drained: CancellationToken,
}

#[tonic::async_trait]
impl OpenRcaService for OrcaService {
    type StreamCoreMetricsStream =
        Pin<Box<dyn Stream<Item = Result<OrcaLoadReport, Status>> + Send>>;

    async fn stream_core_metrics(
        &self,
        request: Request<OrcaLoadReportRequest>,
    ) -> Result<Response<Self::StreamCoreMetricsStream>, Status> {
        let interval = interval(&request.into_inner())?;
        let load = self.load.clone();
        let reports = stream::unfold(false, move |again| {
            let load = load.clone();
            async move {
                if again {
                    tokio::time::sleep(interval).await;
                }
                Some((Ok(load.message()), true))
            }
        });
        let reports = reports.take_until(self.drained.clone().cancelled_owned());
        Ok(Response::new(Box::pin(reports)))
    }
}

/// How long a caller wants to wait from report to report: not less than reports are made. Where it says
/// nothing, a second.
fn interval(request: &OrcaLoadReportRequest) -> Result<Duration, Status> {
    const USUAL: Duration = Duration::from_secs(1);
    let Some(asked) = request.report_interval else { return Ok(USUAL) };
    let asked = Duration::try_from(asked).map_err(|_| {
        Status::invalid_argument("report_interval is negative, or not a time at all")
    })?;
    Ok(if asked.is_zero() { USUAL } else { asked.max(EVERY) })
}
