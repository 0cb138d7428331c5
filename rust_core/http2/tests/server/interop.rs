//! Against a client that somebody else wrote.

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use penstock_http2::Config;

fn request(path: &str) -> Request<()> {
    Request::post(format!("http://host{path}"))
        .header("x-a", "b")
        .header("content-type", "text/plain")
        .body(())
        .unwrap()
}

async fn begin(send: &SendRequest<Bytes>, path: &str, body: &[u8]) -> Result<Response<RecvStream>, h2::Error> {
    let mut send = send.clone().ready().await?;
    let (answer, mut stream) = send.send_request(request(path), body.is_empty())?;
    if !body.is_empty() {
        let mut left = Bytes::copy_from_slice(body);
        while !left.is_empty() {
            stream.reserve_capacity(left.len());
            let Some(room) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { break };
            let piece = left.split_to(room?.min(left.len()));
            stream.send_data(piece, left.is_empty())?;
        }
    }
    answer.await
}

async fn body(answer: Response<RecvStream>) -> (u16, Vec<u8>, Option<String>) {
    let status = answer.status().as_u16();
    let mut stream = answer.into_body();
    let mut whole = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece.unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        whole.extend_from_slice(&piece);
    }
    let trailers = stream.trailers().await.unwrap();
    (status, whole, trailers.map(|t| t["x-end"].to_str().unwrap().to_owned()))
}

fn counted(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

fn client<F: Future<Output = ()>>(buffer: usize, builder: client::Builder, work: impl FnOnce(SendRequest<Bytes>) -> F) {
    crate::rig::with(Config::default(), buffer, |raw, _| async move {
        let (send, connection) = builder.handshake::<_, Bytes>(raw.io).await.unwrap();
        let driver = tokio::task::spawn_local(connection);
        work(send).await;
        // Without senders the client says goodbye and closes.
        driver.await.unwrap().unwrap();
    });
}

#[test]
fn requests_and_answers_of_all_sizes() {
    for buffer in [64, 1000, 1 << 20] {
        client(buffer, client::Builder::new(), |send| async move {
            for size in [0, 1, 1000, 16_384, 16_385, 100_000, 1_500_000] {
                if buffer < 1000 && size > 200_000 {
                    continue;
                }
                let whole = counted(size);
                let echoed = begin(&send, "/echo", &whole).await.unwrap();
                assert_eq!(echoed.headers()["x-name"], "echo");
                assert!(body(echoed).await == (200, whole.clone(), None), "{size} through {buffer}");
                let given = begin(&send, &format!("/give/{size}"), b"").await.unwrap();
                assert!(body(given).await == (200, whole, Some("yes".to_owned())), "{size} through {buffer}");
            }
        });
    }
}

#[test]
fn many_streams_at_once_through_small_windows() {
    let mut builder = client::Builder::new();
    builder.initial_window_size(5_000).initial_connection_window_size(70_000).header_table_size(100);
    client(1 << 14, builder, |send| async move {
        let tasks: Vec<_> = (0..200)
            .map(|n| {
                let send = send.clone();
                tokio::task::spawn_local(async move {
                    let whole = counted(n * 300);
                    let answer = begin(&send, "/echo", &whole).await.unwrap();
                    assert!(body(answer).await == (200, whole, None));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn both_ways_at_once() {
    client(1 << 16, client::Builder::new(), |send| async move {
        let mut send = send.ready().await.unwrap();
        let (answer, mut out) = send.send_request(request("/relay"), false).unwrap();
        let mut back = answer.await.unwrap().into_body();
        for round in 0..200_usize {
            let said = counted(round * 7 + 1);
            out.send_data(said.clone().into(), false).unwrap();
            let mut heard = Vec::new();
            while heard.len() < said.len() {
                let piece = back.data().await.unwrap().unwrap();
                back.flow_control().release_capacity(piece.len()).unwrap();
                heard.extend_from_slice(&piece);
            }
            assert_eq!(heard, said);
        }
        out.send_data(Bytes::new(), true).unwrap();
        // Perhaps in a frame of its own.
        assert!(back.data().await.is_none_or(|last| last.unwrap().is_empty()));
    });
}

#[test]
fn ends_that_are_no_ends() {
    client(1 << 16, client::Builder::new(), |send| async move {
        // Answered before the request is over: complete, and nothing more is asked for.
        let mut ready = send.clone().ready().await.unwrap();
        let (answer, mut out) = ready.send_request(request("/early"), false).unwrap();
        assert_eq!(answer.await.unwrap().status(), 413);
        let reset = std::future::poll_fn(|cx| out.poll_reset(cx)).await.unwrap();
        assert_eq!(reset, Reason::NO_ERROR);
        // Not answered at all.
        assert_eq!(begin(&send, "/drop", b"").await.unwrap_err().reason(), Some(Reason::CANCEL));
        // Broken off.
        let error = match begin(&send, "/break", b"").await {
            Ok(answer) => answer.into_body().data().await.unwrap().unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        // Given up by the client.
        let (answer, mut out) = ready.ready().await.unwrap().send_request(request("/hold"), false).unwrap();
        out.send_reset(Reason::CANCEL);
        assert!(answer.await.is_err());
        assert_eq!(body(begin(&send, "/echo", b"still").await.unwrap()).await, (200, b"still".to_vec(), None));
    });
}

#[test]
fn heads_in_several_frames_both_ways() {
    client(1 << 16, client::Builder::new(), |send| async move {
        for round in 0..3 {
            let mut asked = request("/echo");
            for n in 0..30 {
                let value = format!("{round}-{}", "v".repeat(1000));
                asked
                    .headers_mut()
                    .insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), value.parse().unwrap());
            }
            let (answer, _) = send.clone().ready().await.unwrap().send_request(asked, true).unwrap();
            assert_eq!(answer.await.unwrap().status(), 200);
            let path = format!("/give/{}", "1".repeat(50_000));
            let answer = begin(&send, &path, b"").await.unwrap();
            assert_eq!(answer.headers()["x-size"].len(), 50_000);
            drop(answer);
        }
    });
}

#[test]
fn pings_are_answered() {
    crate::rig::with(Config::default(), 1 << 16, |raw, _| async move {
        let (send, mut connection) = client::handshake(raw.io).await.unwrap();
        let mut pings = connection.ping_pong().unwrap();
        let driver = tokio::task::spawn_local(connection);
        for _ in 0..100 {
            pings.ping(h2::Ping::opaque()).await.unwrap();
        }
        assert_eq!(body(begin(&send, "/give/5", b"").await.unwrap()).await.1, counted(5));
        drop((send, pings));
        driver.await.unwrap().unwrap();
    });
}

#[test]
fn a_goodbye_lets_everything_end_that_was_begun() {
    crate::rig::with(Config::default(), 1 << 16, |raw, seen| async move {
        let (send, connection) = client::handshake(raw.io).await.unwrap();
        let driver = tokio::task::spawn_local(connection);
        let mut ready = send.ready().await.unwrap();
        let (answer, mut out) = ready.send_request(request("/echo"), false).unwrap();
        out.send_data(Bytes::from_static(b"before "), false).unwrap();
        tokio::task::yield_now().await;
        seen.goodbye.set(true);
        // The client hears of it and opens nothing more.
        while ready.clone().ready().await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        out.send_data(Bytes::from_static(b"and after"), true).unwrap();
        assert_eq!(body(answer.await.unwrap()).await, (200, b"before and after".to_vec(), None));
        driver.await.unwrap().unwrap();
    });
}
