"""Photographs' files, read and written, against Pillow, tifffile and zlib: bits, and what is carried beside them."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import IFD, Base

from restoration_lib.data.files import ImageError
from restoration_lib.restore import encoders
from restoration_lib.restore.photograph import Photograph, check_size, read, write

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
KINDS = {"jpg": "JPEG", "png": "PNG", "tif": "TIFF", "webp": "WEBP", "bmp": "BMP"}


@pytest.fixture
def deep():
    """Levels of 16 bits with alpha, (37, 53, 4), none of whose bytes says what the other is."""
    return np.random.default_rng(0).integers(0, 65536, (37, 53, 4), dtype=np.uint16)


def again(photograph, path):
    """As it comes back from a file."""
    write(photograph, path)
    return read(path)


def png_levels(path):
    """A 16-bit PNG by hand: chunks, zlib, filters 0 and 2."""
    data, place, packed = path.read_bytes(), 8, b""
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0]
        if kind == b"IHDR":
            width, height, bits, colour = struct.unpack(">IIBB", body[:10])
        packed += body if kind == b"IDAT" else b""
        place += 12 + length
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[colour]
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, -1).copy()
    assert bits == 16 and set(rows[:, 0]) <= {0, 2}
    for y in range(1, height):
        if rows[y, 0] == 2:
            rows[y, 1:] += rows[y - 1, 1:]
    return np.ascontiguousarray(rows[:, 1:]).view(">u2").reshape(height, width, channels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_all_bits(tmp_path, deep, channels):
    levels, path = deep[..., :channels], tmp_path / "a.png"
    alpha = levels[..., -1] if channels in (2, 4) else None
    found = again(Photograph(levels[..., : 1 if channels < 3 else 3], "PNG", alpha), path)
    np.testing.assert_array_equal(png_levels(path), levels)
    np.testing.assert_array_equal(found.pixels, levels[..., : 1 if channels < 3 else 3])
    assert found.pixels.dtype == np.uint16 and found.notes == []
    assert (found.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(found.alpha, alpha)
    Image.open(path).load()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_keeps_all_bits(tmp_path, deep, channels, bits):
    levels, path = (
        deep[..., :channels] if bits == 16 else (deep[..., :channels] >> 8).astype(np.uint8),
        tmp_path / "a.tif",
    )
    alpha = levels[..., 3] if channels == 4 else None
    found = again(Photograph(levels[..., : min(channels, 3)], "TIFF", alpha), path)
    np.testing.assert_array_equal(tifffile.imread(path), levels.squeeze(2) if channels == 1 else levels)
    np.testing.assert_array_equal(found.pixels, levels[..., : min(channels, 3)])
    assert (found.alpha is None) == (alpha is None) and found.pixels.dtype == levels.dtype


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}]
)
def test_16_bit_tiff_of_others_is_read(tmp_path, deep, byteorder, options):
    for channels in (3, 4):
        levels, path = deep[..., :channels], tmp_path / "a.tif"
        tifffile.imwrite(
            path,
            levels,
            photometric="rgb",
            byteorder=byteorder,
            extrasamples=["unassalpha"] * (channels - 3),
            **options,
        )
        found = read(path)
        np.testing.assert_array_equal(found.pixels, levels[..., :3])
        assert channels == 3 or np.array_equal(found.alpha, levels[..., 3])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_planes_are_refused_in_a_line(tmp_path, deep, compression):
    path = tmp_path / "a.tif"
    planes = np.ascontiguousarray(deep[..., :3].transpose(2, 0, 1))
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", compression=compression)
    with pytest.raises(ImageError, match=r"a\.tif: cannot be read as an image \(16 bits a channel in separate planes"):
        read(path)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_16_bit_grey_whose_zero_is_white(tmp_path, deep, compression):
    tags = {TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: 0}
    Image.fromarray(deep[..., 0]).save(tmp_path / "a.tif", tiffinfo=tags, compression=compression)
    found = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.pixels[..., 0], 65535 - deep[..., 0])
    np.testing.assert_array_equal(again(found, tmp_path / "b.tif").pixels, found.pixels)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("suffix", KINDS)
def test_8_bits_come_back_in_their_mode(tmp_path, levels, mode, suffix):
    image = Image.fromarray(levels).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(levels[..., 0]))
    path = tmp_path / f"a.{suffix}"
    try:
        image.save(path, lossless=True) if suffix == "webp" else image.save(path)
    except OSError:
        pytest.skip("the format has no such mode")
    found, stored = again(read(path), tmp_path / "out" / path.name), Image.open(path)
    assert found.format == KINDS[suffix] == Image.open(tmp_path / "out" / path.name).format
    expected = np.asarray(stored).reshape(61, 83, -1)
    colours = 1 if expected.shape[2] < 3 else 3
    tolerance = 12 if suffix == "jpg" else 0  # of the second compression
    assert np.abs(found.pixels.astype(int) - expected[..., :colours]).max() <= tolerance
    assert (found.alpha is None) == (not stored.mode.endswith("A"))
    if found.alpha is not None:
        np.testing.assert_array_equal(found.alpha, expected[..., -1])
    assert np.asarray(stored).shape == np.asarray(Image.open(tmp_path / "out" / path.name)).shape


def test_a_lossy_webp_stays_lossy(tmp_path, levels):
    Image.fromarray(levels).save(tmp_path / "a.webp", quality=50, icc_profile=ICC)
    found = again(read(tmp_path / "a.webp"), tmp_path / "b.webp")
    assert not found.lossless and b"VP8L" not in (tmp_path / "b.webp").read_bytes() and found.icc_profile == ICC


def test_jpeg_has_the_quality_95_and_colours_of_full_size(tmp_path, levels):
    write(Photograph(levels, "JPEG"), tmp_path / "a.jpg")
    expected = io.BytesIO()
    Image.fromarray(levels).save(expected, "JPEG", quality=95, subsampling="4:4:4")
    found = Image.open(tmp_path / "a.jpg")
    assert found.quantization == Image.open(expected).quantization
    assert {layer[1:3] for layer in found.layer} == {(1, 1)}


@pytest.mark.parametrize("shape", [(200, 83), (203, 300), (16, 1000), (2, 9000), (500, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_of_many_strips_has_the_levels_of_one(tmp_path, shape, channels, monkeypatch):
    levels = np.random.default_rng(0).integers(0, 256, (*shape, channels), dtype=np.uint8)
    monkeypatch.setattr(encoders, "INTERVAL", 50)
    write(
        Photograph(levels, "JPEG", exif=exif_of(1), xmp=b"<xmp/>", icc_profile=ICC, dpi=(300, 300)), tmp_path / "a.jpg"
    )
    expected = io.BytesIO()
    Image.fromarray(levels.squeeze(2) if channels == 1 else levels).save(expected, "JPEG", quality=95, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as found, Image.open(expected) as whole:
        np.testing.assert_array_equal(np.asarray(found), np.asarray(whole))
        assert found.info["icc_profile"] == ICC and found.info["xmp"] == b"<xmp/>" and found.info["dpi"] == (300, 300)
        assert found.getexif()[Base.Make] == "Leica"
    assert (b"\xff\xdd\0\4" in (tmp_path / "a.jpg").read_bytes()) == (shape[0] > 8)


def test_a_small_jpeg_is_as_pillow_writes_it(tmp_path, levels):
    write(Photograph(levels, "JPEG"), tmp_path / "a.jpg")
    Image.fromarray(levels).save(tmp_path / "b.jpg", quality=95, subsampling=0)
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()


def test_a_tiff_of_more_than_4_gb_is_refused(tmp_path, levels, monkeypatch):
    monkeypatch.setattr(encoders, "MOST_OF_TIFF", 1000)
    with pytest.raises(ImageError, match=r"a\.tif: cannot be written \(a TIFF holds no more than 4 GB; PNG does\)"):
        write(Photograph(levels, "TIFF"), tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


def exif_of(orientation):
    exif = Image.Exif()
    exif[Base.Orientation], exif[Base.Make], exif[Base.Copyright] = orientation, "Leica", "me"
    exif.get_ifd(IFD.Exif)[Base.FNumber] = 2.8
    exif.get_ifd(IFD.Exif)[Base.ExifImageWidth] = 83
    exif.get_ifd(IFD.GPSInfo)[1] = "N"
    stored = Image.Exif()
    stored.load(exif.tobytes())
    return stored


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_orientation_is_applied_once_and_all_else_is_kept(tmp_path, levels, orientation, suffix):
    path, out = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(levels).save(path, exif=exif_of(orientation), icc_profile=ICC, dpi=(300, 200), **options)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    found = read(path)
    np.testing.assert_array_equal(found.pixels, upright)
    found = again(found, out)
    assert np.abs(found.pixels.astype(int) - upright).max() <= (12 if suffix == "jpg" else 0)
    image = Image.open(out)
    exif = image.getexif()
    assert exif.get(Base.Orientation) == 1, "tag set, before Pillow applies it"
    assert (exif[Base.Make], exif[Base.Copyright]) == ("Leica", "me")
    assert exif.get_ifd(IFD.Exif)[Base.FNumber] == pytest.approx(2.8)
    assert exif.get_ifd(IFD.Exif)[Base.ExifImageWidth] == upright.shape[1]
    assert exif.get_ifd(IFD.GPSInfo)[1].rstrip("\0") == "N"
    assert image.info["icc_profile"] == ICC
    if suffix != "webp":
        assert tuple(map(float, image.info["dpi"])) == pytest.approx((300, 200), abs=0.02)


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    "{0}exif:PixelXDimension='83'>{1}<tiff:ImageLength>61</tiff:ImageLength><dc:title>Oma und ich</dc:title>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)


def stored(path, levels, xmp, **more):
    """An image with XMP data, written by Pillow."""
    if path.suffix == ".png":
        more["pnginfo"] = PngImagePlugin.PngInfo()
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp)
    elif path.suffix == ".tif":
        more["tiffinfo"] = TiffImagePlugin.ImageFileDirectory_v2()
        more["tiffinfo"][TiffImagePlugin.XMP] = xmp.encode()
        if exif := more.pop("exif", None):
            more["tiffinfo"][Base.Orientation] = exif[Base.Orientation]
    else:
        more |= {"xmp": xmp.encode()} | ({"lossless": True} if path.suffix == ".webp" else {})
    Image.fromarray(levels).save(path, **more)


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("in_exif", [True, False])
@pytest.mark.parametrize("as_element", [True, False])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_xmp_is_kept_with_the_orientation_and_the_sizes_that_hold_then(
    tmp_path, levels, orientation, in_exif, as_element, suffix
):
    path, out = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"

    def xmp(turn, width, height):
        element = f"<tiff:Orientation>{turn}</tiff:Orientation>" if turn and as_element else ""
        attribute = f'tiff:Orientation="{turn}" ' if turn and not as_element else ""
        return XMP.format(attribute, element).replace("83", str(width)).replace("61", str(height))

    more = {"exif": exif_of(orientation)} if orientation and in_exif else {}
    stored(path, levels, xmp(orientation, 83, 61), **more)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert upright.shape[:2] == ((83, 61) if orientation in (5, 6, 7, 8) else (61, 83))
    found = read(path)
    np.testing.assert_array_equal(found.pixels, upright)
    found.pixels = found.pixels.repeat(2, 0).repeat(2, 1)
    write(found, out)
    with Image.open(out) as image:
        image.load()
        height, width, _ = found.pixels.shape
        assert image.info["xmp"] == xmp(orientation and 1, width, height).encode()
    np.testing.assert_array_equal(read(out).pixels.shape, found.pixels.shape)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_carry_xmp_too(tmp_path, deep, kind):
    xmp = XMP.format('tiff:Orientation="6" ', "").encode()
    write(Photograph(deep[..., :3], kind, xmp=xmp), tmp_path / "a")
    found = read(tmp_path / "a")
    assert found.pixels.shape == (53, 37, 3), "turned, as it says"
    write(found, tmp_path / "b")
    assert read(tmp_path / "b").pixels.shape == (53, 37, 3) and b'tiff:Orientation="1"' in read(tmp_path / "b").xmp


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
def test_orientation_of_16_bits(tmp_path, deep, orientation, channels):
    levels = np.ascontiguousarray(deep[..., :channels])
    turned = [
        lambda a: a, lambda a: a[:, ::-1], lambda a: a[::-1, ::-1], lambda a: a[::-1], lambda a: a.swapaxes(0, 1),
        lambda a: np.rot90(a, -1), lambda a: a[::-1, ::-1].swapaxes(0, 1), lambda a: np.rot90(a),
    ]  # fmt: skip
    for kind, suffix in (("PNG", "png"), ("TIFF", "tif")):
        write(Photograph(levels, kind, exif=exif_of(orientation)), tmp_path / f"a.{suffix}")
        found = read(tmp_path / f"a.{suffix}")
        np.testing.assert_array_equal(found.pixels, turned[orientation - 1](levels))
        assert found.exif[Base.Orientation] == 1 and found.exif[Base.Make] == "Leica"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_carry_the_rest_too(tmp_path, deep, kind):
    found = again(Photograph(deep[..., :3], kind, exif=exif_of(1), icc_profile=ICC, dpi=(300, 200)), tmp_path / "a")
    assert found.icc_profile == ICC and found.dpi == pytest.approx((300, 200), abs=0.02)
    assert found.exif.get_ifd(IFD.Exif)[Base.FNumber] == pytest.approx(2.8)


def test_what_is_converted_says_so(tmp_path, levels):
    image = Image.fromarray(levels)
    made = {
        "p.png": (image.quantize(16), "a palette, converted to RGB", 3),
        "cmyk.jpg": (image.convert("CMYK"), "CMYK, converted to RGB", 3),
        "cmyk.tif": (image.convert("CMYK"), "CMYK, converted to RGB", 3),
        "bits.png": (image.convert("1"), "black and white, made grey", 1),
    }
    for name, (stored, note, channels) in made.items():
        stored.save(tmp_path / name)
        found = read(tmp_path / name)
        assert found.notes == [note] and found.pixels.shape[2] == channels
        expected = np.asarray(Image.open(tmp_path / name).convert("L" if channels == 1 else "RGB"))
        np.testing.assert_array_equal(found.pixels.squeeze(), expected)


def test_the_profile_of_inks_does_not_stay_with_colours(tmp_path, levels):
    Image.fromarray(levels).convert("CMYK").save(tmp_path / "a.jpg", icc_profile=b"no profile")
    assert read(tmp_path / "a.jpg").icc_profile == b""


def test_a_transparent_colour_becomes_alpha(tmp_path, levels, deep):
    levels[:, :5] = 7
    for mode, key in (("RGB", (7, 7, 7)), ("L", 7)):
        Image.fromarray(levels).convert(mode).save(tmp_path / "a.png", transparency=key)
        found = read(tmp_path / "a.png")
        assert (found.alpha[:, :5] == 0).all() and (found.alpha[:, 20:] == 255).all()
    Image.fromarray(deep[..., 0]).save(tmp_path / "a.png", transparency=int(deep[3, 4, 0]))
    np.testing.assert_array_equal(read(tmp_path / "a.png").alpha, 65535 * (deep[..., 0] != deep[3, 4, 0]))


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
def test_of_several_images_the_first_is_taken(tmp_path, levels, suffix):
    images = [Image.fromarray(levels + k) for k in range(3)]
    options = {"lossless": True} if suffix == "webp" else {}
    images[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=images[1:], **options)
    found = read(tmp_path / f"a.{suffix}")
    assert found.notes == ["the first of 3 images"]
    np.testing.assert_array_equal(found.pixels, levels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (2, 30_000)])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp"])
def test_thin_and_wide(tmp_path, shape, suffix):
    write(Photograph(np.zeros((*shape, 3), np.uint8), KINDS[suffix]), tmp_path / f"a.{suffix}")
    assert read(tmp_path / f"a.{suffix}").pixels.shape == (*shape, 3)


@pytest.mark.parametrize(("kind", "most"), [("JPEG", 65_500), ("WEBP", 16_383)])
def test_sides_that_a_format_cannot_hold_are_refused_before_the_work(tmp_path, kind, most):
    check_size(kind, most, 1, tmp_path)
    with pytest.raises(ImageError, match=f"{kind} holds no {most + 1} x 1 px, {most} a side are the most"):
        check_size(kind, most + 1, 1, tmp_path)
    with pytest.raises(ImageError, match="cannot be written"):
        write(Photograph(np.zeros((1, most + 1, 3), np.uint8), kind), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def broken(path, name):
    """A file that is no photograph, or none that is whole."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "GIF" if name == "gif.gif" else "PNG" if name == "bomb.png" else "JPEG")
    data = stream.getvalue()
    if name == "truncated.jpg":
        data = data[: len(data) // 2]
    if name == "empty.jpg":
        data = b""
    if name == "text.jpg":
        data = b"Dear diary, today I photographed a cat.\n"
    if name == "bomb.png":
        header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + data[24:29]
        data = data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]
    if name == "folder.jpg":
        path.mkdir()
    elif name == "loop.jpg":
        path.symlink_to(path)
    elif name != "missing.jpg":
        path.write_bytes(data)
    return path


BROKEN = {
    "truncated.jpg": "truncated",
    "empty.jpg": "unknown format",
    "text.jpg": "unknown format",
    "bomb.png": "decompression bomb",
    "folder.jpg": "directory",
    "loop.jpg": "symbolic links",
    "missing.jpg": "No such file",
    "gif.gif": "GIF cannot be written; save it as JPEG, PNG, TIFF or WebP",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_photograph_is_one_line(tmp_path, name):
    path = broken(tmp_path / name, name)
    with warnings.catch_warnings(), pytest.raises(ImageError) as caught:
        warnings.simplefilter("error")
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: cannot be read as an image (") and BROKEN[name] in text and "\n" not in text


def test_damaged_exif_is_left_out(tmp_path, levels):
    unit = b"\x28\1\2\0\1\0\0\0A\0\0\0"  # the resolution's, a text instead of a number
    Image.fromarray(levels).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0" + unit + bytes(4))
    found = read(tmp_path / "a.jpg")
    assert found.notes == ["damaged EXIF data left out"] and not len(found.exif)
    again(found, tmp_path / "b.jpg")
    Image.fromarray(levels).save(tmp_path / "a.jpg", exif=b"Exif\0\0nonsense")
    assert not len(read(tmp_path / "a.jpg").exif)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "PNG 16"])
def test_a_full_disk_leaves_no_file(tmp_path, levels, deep, kind, monkeypatch):
    photograph = Photograph(deep[..., :3] if "16" in kind else levels, kind.split()[0])
    (tmp_path / "a").write_bytes(b"old")

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ImageError, match=r"a: cannot be written \(No space left on device\)"):
        write(photograph, tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_a_target_that_cannot_be_is_one_line(tmp_path, levels):
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="cannot be written"):
        write(Photograph(levels, "PNG"), tmp_path / "file" / "a.png")
