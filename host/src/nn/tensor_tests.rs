//! Tests of tensors: lengths, views, strings and hostile shapes.

use super::*;

fn floats(shape: &[u64], values: &[f32]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::new(DType::F32, shape, data.into()).unwrap()
}

#[test]
fn takes_exactly_the_bytes_of_its_shape() {
    assert_eq!(floats(&[2, 2], &[1., 2., 3., 4.]).elements(), 4);
    assert_eq!(floats(&[], &[1.]).elements(), 1);
    assert_eq!(floats(&[3, 0, 2], &[]).elements(), 0);
    let error = Tensor::new(DType::I64, [2u64], Bytes::from_static(&[0; 15])).unwrap_err();
    assert_eq!(error.to_string(), "15 bytes of data do not make i64 [2], which takes 16");
}

#[test]
fn huge_shapes_are_refused() {
    for shape in [
        vec![u64::MAX],
        vec![1 << 40, 1 << 40],
        vec![1 << 61, 2, 4],
        vec![u64::MAX, 0],
        vec![1 << 40, 0, 1 << 40],
    ] {
        let error = Tensor::new(DType::F64, shape.clone(), Bytes::new()).unwrap_err();
        assert_eq!(error, TensorError::TooLarge { shape });
    }
    // No elements, but strides that native code cannot count.
    let empty = Tensor::new(DType::U8, [0, 1 << 62, 1 << 62], Bytes::new()).unwrap_err();
    assert!(matches!(empty, TensorError::TooLarge { .. }));
    // An element count that fits where the byte count does not.
    assert!(Tensor::new(DType::F64, [1u64 << 62], Bytes::new()).is_err());
}

#[test]
fn bools_are_zero_or_one() {
    let error = Tensor::new(DType::Bool, [3u64], Bytes::from_static(&[0, 1, 2])).unwrap_err();
    assert_eq!(error.to_string(), "element 2 of a bool tensor is 2, not 0 or 1");
}

#[test]
fn reshape_and_rows_share_the_bytes() {
    let t = floats(&[3, 2], &[1., 2., 3., 4., 5., 6.]);
    let flat = t.reshape([6u64]).unwrap();
    assert_eq!(flat.data().as_ptr(), t.data().as_ptr());
    assert!(t.reshape([5u64]).is_err());
    let rows = t.rows(1, 2).unwrap();
    assert_eq!((rows.shape(), rows.elements()), (&[2u64, 2][..], 4));
    assert_eq!(rows, floats(&[2, 2], &[3., 4., 5., 6.]));
    assert_eq!(rows.data().as_ptr(), t.data()[8..].as_ptr());
    assert_eq!(t.rows(3, 0).unwrap().elements(), 0);
    for (start, count) in [(0, 4), (4, 0), (u64::MAX, 2)] {
        assert!(t.rows(start, count).is_err());
    }
    assert!(floats(&[], &[1.]).rows(0, 1).is_err());
    assert_eq!(floats(&[1 << 40, 0, 1 << 20], &[]).rows(1 << 39, 7).unwrap().elements(), 0);
}

#[test]
fn strings_are_counted_and_sliced() {
    let t = Tensor::from_bytes_elements([3u64], ["one", "", "drei\0\u{e9}"]).unwrap();
    assert_eq!(t.byte_length(), 3 * 4 + 3 + 7);
    let rows = t.rows(1, 2).unwrap();
    assert_eq!(rows.bytes_elements().collect::<Vec<_>>(), [&b""[..], "drei\0\u{e9}".as_bytes()]);
    assert_eq!(
        Tensor::from_bytes_elements([2u64], ["one"]).unwrap_err().to_string(),
        "the data holds 1 strings, but shape [2] takes 2"
    );
    for bad in [&[1, 0, 0, 0][..], &[255; 4], &[0, 0, 0, 0, 9]] {
        let error = Tensor::new(DType::Bytes, [1u64], Bytes::copy_from_slice(bad)).unwrap_err();
        assert!(matches!(error, TensorError::Truncated { .. }), "{error}");
    }
    assert_eq!(floats(&[1], &[1.]).bytes_elements().count(), 0);
}

#[test]
fn much_data_is_checked_in_steps() {
    // 100 empty strings.
    let data = Bytes::from(vec![0; 400]);
    let mut strings = Unchecked::new(DType::Bytes, [100], data.clone()).unwrap();
    for _ in 0..9 {
        assert!(!strings.check(10).unwrap(), "there are more");
    }
    while !strings.check(10).unwrap() {}
    let strings = strings.finish().unwrap();
    assert_eq!(strings.elements(), 100);
    let mut rows = Rows::new(&strings, 50, 20).unwrap();
    for _ in 0..6 {
        assert!(!rows.find(10), "they end later");
    }
    assert!(rows.find(10));
    assert_eq!(rows.finish(), strings.rows(50, 20).unwrap());
    let mut short = Unchecked::new(DType::Bytes, [101], data).unwrap();
    let error = loop {
        match short.check(7) {
            Ok(done) => assert!(!done),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, TensorError::Strings { wanted: 101, got: 100, .. }), "{error}");
    let mut bools =
        Unchecked::new(DType::Bool, [9], Bytes::from_static(&[1, 0, 1, 0, 1, 0, 1, 0, 2]));
    let bools = bools.as_mut().unwrap();
    assert!(!bools.check(8).unwrap());
    assert_eq!(bools.check(8), Err(TensorError::NotBool { index: 8, value: 2 }));
}

#[test]
fn dimensions_are_bounded() {
    let one = Tensor::new(DType::U8, [1; MAX_RANK], Bytes::from_static(&[7])).unwrap();
    let error = one.reshape([1; MAX_RANK + 1]).unwrap_err();
    assert_eq!(error, TensorError::Rank { rank: MAX_RANK + 1 });
}
