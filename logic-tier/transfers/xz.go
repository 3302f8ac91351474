package transfers

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// maxDictionary bounds what a .xz may ask us to hold: its header says how much,
// and may say 4 GiB. "xz -9" asks for 64 MiB.
const maxDictionary = 64 << 20

var (
	xzMagic  = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	errXZ    = errors.New("no .xz, or a damaged one")
	errXZSum = errors.New("a checksum of the .xz is wrong")
)

// xzReader reads the xz format (version 1.0.4, one LZMA2 filter a block). The
// library that decodes LZMA2 reads it too, but holds as much as a file asks for.
type xzReader struct {
	from  *counted
	check func() hash.Hash // nil: blocks have none

	block io.Reader // nil between blocks
	sum   hash.Hash
	begun int64 // where the block's data began
	ended bool
}

type counted struct {
	io.Reader
	count int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.count += int64(n)
	return n, err
}

func newXZReader(from io.Reader) (*xzReader, error) {
	r := &xzReader{from: &counted{Reader: from}}
	return r, r.header()
}

// header reads a stream's header; io.EOF when there is none any more.
func (r *xzReader) header() error {
	var h [12]byte
	for {
		if _, err := io.ReadFull(r.from, h[:4]); err != nil {
			return err
		}
		if !bytes.Equal(h[:4], []byte{0, 0, 0, 0}) {
			break // what lies between streams
		}
	}
	if _, err := io.ReadFull(r.from, h[4:]); err != nil {
		return unexpected(err)
	}
	if !bytes.Equal(h[:6], xzMagic) || h[6] != 0 || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return errXZ
	}
	switch h[7] {
	case 0x00:
		r.check = nil
	case 0x01:
		r.check = func() hash.Hash { return littleEndian{crc32.NewIEEE()} }
	case 0x04:
		r.check = func() hash.Hash { return littleEndian{crc64.New(crc64.MakeTable(crc64.ECMA))} }
	case 0x0a:
		r.check = sha256.New
	default:
		return errXZ
	}
	return nil
}

// littleEndian is a sum as xz writes it: the other way round than Go does.
type littleEndian struct{ hash.Hash }

func (l littleEndian) Sum(b []byte) []byte {
	sum := l.Hash.Sum(nil)
	for i, j := 0, len(sum)-1; i < j; i, j = i+1, j-1 {
		sum[i], sum[j] = sum[j], sum[i]
	}
	return append(b, sum...)
}

func (r *xzReader) Read(p []byte) (int, error) {
	for !r.ended {
		if r.block == nil {
			if err := r.begin(); err != nil {
				return 0, unexpected(err)
			}
			continue
		}
		n, err := r.block.Read(p)
		if r.sum != nil {
			r.sum.Write(p[:n])
		}
		if errors.Is(err, io.EOF) {
			if err = r.end(); n == 0 && err == nil {
				continue
			}
		}
		return n, unexpected(err)
	}
	return 0, io.EOF
}

// unexpected is for an end that comes too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// begin reads a block's header, or what follows a stream's last block.
func (r *xzReader) begin() error {
	var size [1]byte
	if _, err := io.ReadFull(r.from, size[:]); err != nil {
		return err
	}
	if size[0] == 0 {
		return r.index()
	}
	h := make([]byte, (int(size[0])+1)*4)
	h[0] = size[0]
	if _, err := io.ReadFull(r.from, h[1:]); err != nil {
		return err
	}
	body := h[:len(h)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(h[len(body):]) {
		return errXZSum
	}
	fields := bytes.NewReader(body[2:])
	for _, present := range []byte{0x40, 0x80} {
		if body[1]&present != 0 {
			if _, err := binary.ReadUvarint(fields); err != nil {
				return errXZ
			}
		}
	}
	// One filter (flags' lowest bits), LZMA2 (0x21), with one byte of properties.
	var filter [3]byte
	if _, err := io.ReadFull(fields, filter[:]); err != nil || body[1]&0x3f != 0 || filter[0] != 0x21 || filter[1] != 1 {
		return errXZ
	}
	dictionary, err := lzma.DecodeDictCap(filter[2])
	switch {
	case err != nil:
		return errXZ
	case dictionary > maxDictionary:
		return errDictionary
	}
	r.begun = r.from.count
	r.block, err = lzma.Reader2Config{DictCap: int(max(dictionary, lzma.MinDictCap))}.NewReader2(r.from)
	if err != nil {
		return err
	}
	if r.sum = nil; r.check != nil {
		r.sum = r.check()
	}
	return nil
}

// end reads what follows a block's data: padding to four bytes, and its sum.
func (r *xzReader) end() error {
	r.block = nil
	padding := make([]byte, (4-(r.from.count-r.begun)%4)%4)
	if _, err := io.ReadFull(r.from, padding); err != nil {
		return err
	}
	if r.sum == nil {
		return nil
	}
	said := make([]byte, r.sum.Size())
	if _, err := io.ReadFull(r.from, said); err != nil {
		return err
	}
	if !bytes.Equal(said, r.sum.Sum(nil)) {
		return errXZSum
	}
	return nil
}

// index passes over a stream's index and footer, whose first byte was read, and
// begins the next stream if there is one.
func (r *xzReader) index() error {
	began := r.from.count - 1
	bytes := oneByOne{r.from}
	records, err := binary.ReadUvarint(bytes)
	if err != nil {
		return errXZ
	}
	for range 2 * records {
		if _, err := binary.ReadUvarint(bytes); err != nil {
			return errXZ
		}
	}
	rest := make([]byte, (4-(r.from.count-began)%4)%4+4+12) // padding, sum, footer
	if _, err := io.ReadFull(r.from, rest); err != nil {
		return err
	}
	if string(rest[len(rest)-2:]) != "YZ" {
		return errXZ
	}
	err = r.header()
	if errors.Is(err, io.EOF) {
		r.ended = true
		return nil
	}
	return err
}

type oneByOne struct{ io.Reader }

func (o oneByOne) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(o.Reader, b[:])
	return b[0], err
}
