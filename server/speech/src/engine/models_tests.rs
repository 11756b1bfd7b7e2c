use std::fs;

use cadence_fakes::speech::SpeechApi;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use url::Url;

use super::super::test_support::tls;
use super::{MODELS, Model, ModelError, Models, Progress, REPOSITORY, find};
use crate::engine::ErrorKind;

/// A model's file of 300 kB.
fn contents() -> Vec<u8> {
    (0..300_000_u32).map(|number| (number * 7 + number / 251) as u8).collect()
}

/// A small model that the server has.
fn published(api: &SpeechApi) -> Model {
    let contents = contents();
    let sha256: String = Sha256::digest(&contents).iter().map(|byte| format!("{byte:02x}")).collect();
    let model =
        Model { name: "small-for-tests", bytes: contents.len() as u64, sha256: sha256.leak(), english_only: true };
    api.file(&model.file(), contents);
    model
}

fn models(directory: &TempDir, api: &SpeechApi) -> Models {
    tls();
    let url = Url::parse(&format!("{}/files/", api.url())).expect("a URL");
    Models::new(directory.path().join("models"), url)
}

async fn download(models: &Models, model: &Model) -> Result<Vec<Progress>, ModelError> {
    let mut steps = Vec::new();
    models.download(model, |step| steps.push(step)).await?;
    Ok(steps)
}

#[tokio::test]
async fn a_model_is_downloaded_once_and_removed() {
    let (directory, api) = (TempDir::new().expect("a directory"), SpeechApi::start());
    let (model, models) = (published(&api), models(&directory, &api));
    assert!(!models.has(&model));
    let steps = download(&models, &model).await.expect("a model");
    assert!(steps.windows(2).all(|pair| pair[0].done <= pair[1].done));
    assert_eq!((steps[0].done, steps[steps.len() - 1]), (0, Progress { done: model.bytes, total: model.bytes }));
    assert!(models.has(&model));
    assert_eq!(fs::read(models.path(&model)).expect("the file"), contents());

    assert_eq!(download(&models, &model).await.expect("a model"), []);
    assert_eq!(api.requests().len(), 1);
    let names: Vec<_> = fs::read_dir(directory.path().join("models"))
        .expect("files")
        .map(|file| file.expect("a file").file_name())
        .collect();
    assert_eq!(names, ["ggml-small-for-tests.bin"]);
    assert!(models.remove(&model).expect("removed"));
    assert!(!models.has(&model) && !models.remove(&model).expect("nothing there"));
}

#[tokio::test]
async fn a_download_that_broke_off_goes_on_where_it_was() {
    let (directory, api) = (TempDir::new().expect("a directory"), SpeechApi::start());
    let (model, models) = (published(&api), models(&directory, &api));
    api.cut_file(100_000);
    let error = download(&models, &model).await.expect_err("cut");
    assert!(matches!(&error, ModelError::Network(error) if error.kind == ErrorKind::Unavailable), "{error:?}");
    assert!(!models.has(&model));
    let came = fs::metadata(models.part(&model)).expect("a part").len();
    assert!(came > 0 && came <= 100_000, "{came} bytes came");

    let steps = download(&models, &model).await.expect("a model");
    assert_eq!(steps[0].done, came);
    assert_eq!(api.requests()[1].range, Some(format!("bytes={came}-")));
    assert_eq!(fs::read(models.path(&model)).expect("the file"), contents());
}

#[tokio::test]
async fn a_server_that_knows_no_parts_gives_the_whole_again() {
    let (directory, api) = (TempDir::new().expect("a directory"), SpeechApi::start());
    let (model, models) = (published(&api), models(&directory, &api));
    api.ignore_ranges();
    api.cut_file(100_000);
    download(&models, &model).await.expect_err("cut");
    download(&models, &model).await.expect("a model");
    assert_eq!(fs::read(models.path(&model)).expect("the file"), contents());
}

#[tokio::test]
async fn a_complete_part_is_only_checked_and_one_too_long_is_begun_anew() {
    let (directory, api) = (TempDir::new().expect("a directory"), SpeechApi::start());
    let (model, models) = (published(&api), models(&directory, &api));
    fs::create_dir(directory.path().join("models")).expect("a directory");
    fs::write(models.part(&model), contents()).expect("a part");
    download(&models, &model).await.expect("a model");
    assert_eq!(api.requests().len(), 0);

    models.remove(&model).expect("removed");
    fs::write(models.part(&model), [contents(), vec![0]].concat()).expect("a part");
    download(&models, &model).await.expect("a model");
    assert_eq!((api.requests().len(), api.requests()[0].range.clone()), (1, None));
}

#[tokio::test]
async fn another_file_than_the_published_one_is_refused_and_not_kept() {
    let mut other = contents();
    other[1_000] ^= 1;
    for wrong in [other, [contents(), vec![0; 10]].concat()] {
        let (directory, api) = (TempDir::new().expect("a directory"), SpeechApi::start());
        let (model, models) = (published(&api), models(&directory, &api));
        api.file(&model.file(), wrong);
        let error = download(&models, &model).await.expect_err("wrong");
        assert!(matches!(error, ModelError::Wrong { .. }), "{error:?}");
        assert!(!models.has(&model) && !models.part(&model).exists());
        api.file(&model.file(), contents());
        download(&models, &model).await.expect("a model");
    }
}

#[tokio::test]
async fn a_file_that_ends_early_or_is_not_there_is_said() {
    let (directory, api) = (TempDir::new().expect("a directory"), SpeechApi::start());
    let (model, models) = (published(&api), models(&directory, &api));
    api.file(&model.file(), contents()[..200_000].to_vec());
    let error = download(&models, &model).await.expect_err("short");
    assert!(
        matches!(&error, ModelError::Network(error) if error.to_string().contains("200000 of 300000")),
        "{error:?}"
    );
    let missing = Model { name: "missing", ..model };
    let error = download(&models, &missing).await.expect_err("missing");
    assert!(matches!(&error, ModelError::Network(error) if error.kind == ErrorKind::Refused), "{error:?}");
}

#[tokio::test]
async fn two_programs_do_not_write_the_same_file() {
    let (directory, api) = (TempDir::new().expect("a directory"), SpeechApi::start());
    let (model, models) = (published(&api), models(&directory, &api));
    fs::create_dir(directory.path().join("models")).expect("a directory");
    let other = fs::File::create(models.part(&model)).expect("a part");
    other.lock().expect("a lock");
    assert!(matches!(download(&models, &model).await, Err(ModelError::Busy { .. })));
    drop(other);
    download(&models, &model).await.expect("a model");
}

#[test]
fn the_models_are_named_and_hashed_as_published() {
    for model in &MODELS {
        assert_eq!(find(model.name), Some(model));
        assert!(model.sha256.len() == 64 && model.sha256.bytes().all(|digit| digit.is_ascii_hexdigit()), "{model:?}");
        assert_eq!(model.english_only, model.name.ends_with(".en"), "{model:?}");
    }
    assert!(MODELS.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes + 20_000));
    assert_eq!(find("huge"), None);
    let url = Url::parse(REPOSITORY).and_then(|base| base.join(&MODELS[2].file())).expect("a URL");
    assert_eq!(url.as_str(), "https://huggingface.co/ggerganov/whisper.cpp/resolve/main/ggml-base.en.bin");
}
