use super::*;

fn read(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
    let mut reader = Reader::new(message);
    std::iter::from_fn(|| reader.next().transpose()).collect()
}

#[test]
fn fields_come_back_as_they_were_written() {
    let mut out = BytesMut::new();
    put_uint(&mut out, 1, u64::MAX);
    put_int(&mut out, 2, -1);
    put_bool(&mut out, 3, true);
    put_double(&mut out, 4, 0.5);
    put_float(&mut out, 5, -2.0);
    put_text(&mut out, 16, "ü");
    let fields = read(&out).unwrap();
    assert_eq!(fields.len(), 6);
    assert_eq!(fields[0], (1, Value::Varint(u64::MAX)));
    assert_eq!(fields[1], (2, Value::Varint((-1_i64).cast_unsigned())));
    assert_eq!(fields[2], (3, Value::Varint(1)));
    assert_eq!(fields[3], (4, Value::Fixed64(0.5_f64.to_bits())));
    assert_eq!(fields[4], (5, Value::Fixed32((-2.0_f32).to_bits())));
    assert_eq!((fields[5].0, fields[5].1.text()), (16, Some("ü")));
}

#[test]
fn lengths_of_any_size_are_patched() {
    for size in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        let body: Vec<u8> = (0..size).map(|at| at as u8).collect();
        let mut out = BytesMut::from(&b"before"[..]);
        let mark = begin(&mut out, 100);
        out.extend_from_slice(&body);
        end(&mut out, mark);
        let mut plain = BytesMut::from(&b"before"[..]);
        put_bytes(&mut plain, 100, &body);
        assert_eq!(out, plain, "{size}");
    }
}

#[test]
fn the_last_of_a_field_counts() {
    assert_eq!(last_bytes(b"\x0a\x01a\x12\x01x\x0a\x01b", 1), Ok(&b"b"[..]));
    assert_eq!(last_bytes(b"", 1), Ok(&b""[..]));
    assert_eq!(last_bytes(b"\x0a", 1), Err(Malformed::Truncated));
}

#[test]
fn what_is_no_message_is_refused() {
    assert_eq!(read(b"\x08"), Err(Malformed::Truncated));
    assert_eq!(read(b"\x0a\x05abc"), Err(Malformed::Truncated));
    assert_eq!(read(b"\x0d\0\0\0"), Err(Malformed::Truncated));
    assert_eq!(read(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Ok(vec![(1, Value::Varint(u64::MAX))]));
    assert_eq!(read(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), Err(Malformed::Varint));
    assert_eq!(read(b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), Err(Malformed::Varint));
    assert_eq!(read(b"\x00\x01"), Err(Malformed::Tag));
    assert_eq!(read(b"\x0e"), Err(Malformed::Tag));
    assert_eq!(read(b"\x80\x80\x80\x80\x10\0"), Err(Malformed::Tag));
}

#[test]
fn groups_are_stepped_over() {
    assert_eq!(read(b"\x0b\x10\x05\x13\x14\x0c\x08\x07"), Ok(vec![(1, Value::Varint(7))]));
    assert_eq!(read(b"\x0b\x14"), Err(Malformed::Group));
    assert_eq!(read(b"\x0c"), Err(Malformed::Group));
    assert_eq!(read(b"\x0b"), Err(Malformed::Truncated));
    assert_eq!(read(&[0x0b; 10_000]), Err(Malformed::Group));
}
