//! What was written is read back, and nothing that is read makes the reader fall over.

use proptest::prelude::*;

use crate::{BoltError, Measured, Reader, WriteError, Writer};

type Buckets = Vec<(Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>)>;

fn fill<W: std::io::Write>(mut writer: Writer<W>, buckets: &Buckets) -> (W, Measured) {
    for (name, rows) in buckets {
        writer.bucket(name).expect("in order");
        for (key, value) in rows {
            writer.put(key, value).expect("in order");
        }
    }
    writer.finish().expect("written")
}

fn file(buckets: &Buckets) -> Vec<u8> {
    let (_, measured) = fill(Writer::measure(), buckets);
    let (bytes, again) = fill(Writer::begin(Vec::new(), measured).expect("begun"), buckets);
    assert_eq!((measured, bytes.len() as u64), (again, measured.bytes()));
    bytes
}

fn read(bytes: Vec<u8>) -> Result<Buckets, BoltError> {
    let reader = Reader::open(bytes)?;
    let mut buckets = Buckets::new();
    for name in reader.names()? {
        let Some(mut rows) = reader.bucket(&name)? else { continue };
        let mut read = Vec::new();
        while let Some(row) = rows.next_row()? {
            read.push((row.key.to_vec(), row.value.to_vec()));
        }
        buckets.push((name, read));
    }
    Ok(buckets)
}

fn numbered(count: u32, value_bytes: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..count).map(|number| (number.to_be_bytes().to_vec(), vec![number as u8; value_bytes])).collect()
}

fn sample() -> Buckets {
    vec![
        (b"empty".to_vec(), Vec::new()),
        (b"large".to_vec(), numbered(3, 20_000)),
        (b"many".to_vec(), numbered(50_000, 10)),
        (b"one".to_vec(), vec![(b"key".to_vec(), Vec::new())]),
        (
            b"zlong".to_vec(),
            (0..200u8).map(|number| (vec![number.max(1); 3_000 + usize::from(number)], vec![])).collect(),
        ),
    ]
}

#[test]
fn what_was_written_is_read_back() {
    for buckets in [Buckets::new(), sample()] {
        assert_eq!(read(file(&buckets)).expect("whole"), buckets);
    }
}

#[test]
fn what_is_out_of_order_is_refused() {
    let mut writer = Writer::measure();
    assert!(matches!(writer.put(b"a", b""), Err(WriteError::Homeless)));
    writer.bucket(b"b").expect("the first");
    writer.put(b"b", b"").expect("the first");
    assert!(matches!(writer.put(b"a", b""), Err(WriteError::Order(_))));
    writer.bucket(b"a").expect("its name is looked at when it ends");
    assert!(matches!(writer.finish(), Err(WriteError::Order(_))));
    let (_, measured) = fill(Writer::measure(), &sample());
    let mut writer = Writer::begin(Vec::new(), measured).expect("begun");
    writer.bucket(b"other").expect("the first");
    assert!(matches!(writer.finish(), Err(WriteError::Changed)));
}

#[test]
fn either_meta_page_will_do() {
    let whole = file(&sample());
    for meta in 0..2usize {
        let mut bytes = whole.clone();
        bytes[meta * 4096 + 16 + 20] ^= 1;
        assert_eq!(read(bytes.clone()).expect("the other one is whole"), sample());
        bytes[(1 - meta) * 4096 + 16 + 60] ^= 1;
        assert!(matches!(read(bytes), Err(BoltError::Meta)));
    }
    assert!(matches!(read(whole[..whole.len() - 1].to_vec()), Err(BoltError::CutOff { .. })));
    assert!(matches!(read(Vec::new()), Err(BoltError::Foreign)));
    assert!(matches!(read(vec![7; 10_000]), Err(BoltError::Foreign)));
}

#[test]
fn a_circle_of_pages_ends() {
    let buckets = vec![(b"many".to_vec(), numbered(5_000, 10))];
    let bytes = file(&buckets);
    // Every branch page leads to itself, one after the other.
    for page in 2..bytes.len() / 4096 {
        let at = page * 4096;
        if bytes[at + 8] != 1 {
            continue;
        }
        let mut bytes = bytes.clone();
        for element in 0..usize::from(bytes[at + 10]) {
            bytes[at + 16 + element * 16 + 8..][..8].copy_from_slice(&(page as u64).to_le_bytes());
        }
        assert!(matches!(read(bytes), Err(BoltError::Page { .. })));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_fall_over(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        heads_only in any::<bool>(),
    ) {
        let buckets = vec![
            (b"large".to_vec(), numbered(2, 5_000)),
            (b"many".to_vec(), numbered(2_000, 10)),
        ];
        let mut bytes = file(&buckets);
        for (place, value) in changes {
            // The metas stay, or nothing behind them would be looked at.
            let body = bytes.len() - 8192;
            let place = place.index(body);
            let place = if heads_only { place / 4096 * 4096 + place % 64 } else { place };
            bytes[8192 + place] = value;
        }
        let _ = read(bytes);
    }

    #[test]
    fn no_noise_makes_it_fall_over(noise in proptest::collection::vec(any::<u8>(), 0..9000)) {
        let _ = read(noise);
    }
}
