//! What was made from files, made again when the files are others.
//!
//! INVARIANT: while the files make nothing that can be used (somebody is just writing them, a key does not fit), what
//! was made before stays, the log says so once for each reason, and each look tries again.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::TlsError;
use crate::files::Stamp;

/// Something that is made from files.
pub(crate) trait Source: Send + Sync + 'static {
    /// What.
    type Product: Send + Sync + 'static;

    /// From which.
    fn files(&self) -> Vec<PathBuf>;

    /// Reads them.
    fn load(&self) -> Result<Self::Product, TlsError>;
}

/// See the module.
pub(crate) struct Loaded<S: Source> {
    source: S,
    files: Vec<PathBuf>,
    product: ArcSwap<S::Product>,
    look: Mutex<Look>,
}

struct Look {
    stamp: Stamp,
    trouble: Option<String>,
}

impl<S: Source> Loaded<S> {
    /// Reads the files for the first time.
    pub(crate) fn new(source: S) -> Result<Self, TlsError> {
        let files = source.files();
        // Looked at before they are read: a change between both is found at the next look.
        let stamp = Stamp::of(&files);
        let product = ArcSwap::from_pointee(source.load()?);
        Ok(Self { source, files, product, look: Mutex::new(Look { stamp, trouble: None }) })
    }

    /// From what it is made.
    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    /// What the files make now, or made when they last made sense.
    pub(crate) fn current(&self) -> Arc<S::Product> {
        self.look().0
    }

    /// The same, and whether it was made just now.
    pub(crate) fn look(&self) -> (Arc<S::Product>, bool) {
        let mut is_new = false;
        let stamp = Stamp::of(&self.files);
        let mut look = self.look.lock();
        if look.stamp != stamp {
            match self.source.load() {
                Ok(product) => {
                    self.product.store(Arc::new(product));
                    (look.stamp, look.trouble) = (stamp, None);
                    is_new = true;
                    tracing::info!(files = self.names(), "took up changed TLS files");
                }
                Err(error) => {
                    let text = error.to_string();
                    if look.trouble.as_ref() != Some(&text) {
                        tracing::error!(
                            error = text,
                            files = self.names(),
                            "changed TLS files cannot be used; those that were read before stay in force"
                        );
                        look.trouble = Some(text);
                    }
                }
            }
        }
        drop(look);
        (self.product.load_full(), is_new)
    }

    fn names(&self) -> String {
        self.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}
