package transfers

import (
	"encoding/binary"
	"math"
)

// The parts of a .zip (PKWARE's APPNOTE 6.3), as they are written here. The
// directory at its end is what readers go by; between the entries that it names
// there may lie what a worker that was stopped had begun. archive/zip writes one
// from its beginning to its end in one process; this can be taken up in another.
const (
	zipLocal      = 0x04034b50
	zipDescriptor = 0x08074b50
	zipCentral    = 0x02014b50
	zipEnd        = 0x06054b50
	zipEnd64      = 0x06064b50
	zipLocator64  = 0x07064b50

	zipStored, zipDeflated = 0, 8
	zipVersion, zipLarge   = 20, 45 // needed to extract
	zipUnix                = 3 << 8 // made by
	zipLater               = 0x8    // flag: checksum and sizes follow the content
	zipUTF8                = 0x800  // flag: of the name
	zipDay                 = 0x21   // 1980-01-01: the same talk is the same bytes
	zipMode                = 0o100644 << 16
	zipExtra64             = 1
)

type zipBytes []byte

func (b *zipBytes) two(v uint16)   { *b = binary.LittleEndian.AppendUint16(*b, v) }
func (b *zipBytes) four(v uint32)  { *b = binary.LittleEndian.AppendUint32(*b, v) }
func (b *zipBytes) eight(v uint64) { *b = binary.LittleEndian.AppendUint64(*b, v) }

// clipped returns what stands for a number that needs 64 bits.
func clipped(v int64) uint32 { return uint32(min(v, math.MaxUint32)) }

func (a archived) large() bool { return a.Size >= math.MaxUint32 || a.CompressedSize >= math.MaxUint32 }

func (a archived) method() uint16 {
	if a.Stored {
		return zipStored
	}
	return zipDeflated
}

// flags: a stored entry's checksum is known when all of it was read.
func (a archived) flags() uint16 {
	if a.Stored {
		return zipUTF8 | zipLater
	}
	return zipUTF8
}

func (a archived) version() uint16 {
	if a.large() || a.Start >= math.MaxUint32 {
		return zipLarge
	}
	return zipVersion
}

// local returns what stands before the content.
func (a archived) local() []byte {
	var b, extra zipBytes
	if a.large() {
		extra.two(zipExtra64)
		extra.two(16)
		extra.eight(uint64(a.Size))
		extra.eight(uint64(a.CompressedSize))
	}
	b.four(zipLocal)
	b.two(a.version())
	b.two(a.flags())
	b.two(a.method())
	b.two(0) // midnight
	b.two(zipDay)
	if a.Stored {
		b.four(0)
	} else {
		b.four(a.CRC32)
	}
	b.four(clipped(a.CompressedSize))
	b.four(clipped(a.Size))
	b.two(uint16(len(a.Path)))
	b.two(uint16(len(extra)))
	return append(append(b, a.Path...), extra...)
}

// descriptor returns what stands behind a stored content.
func (a archived) descriptor() []byte {
	var b zipBytes
	b.four(zipDescriptor)
	b.four(a.CRC32)
	if a.large() {
		b.eight(uint64(a.CompressedSize))
		b.eight(uint64(a.Size))
	} else {
		b.four(uint32(a.CompressedSize))
		b.four(uint32(a.Size))
	}
	return b
}

// central returns the entry's line in the directory.
func (a archived) central() []byte {
	var b, extra zipBytes
	if a.large() || a.Start >= math.MaxUint32 {
		extra.two(zipExtra64)
		extra.two(24)
		extra.eight(uint64(a.Size))
		extra.eight(uint64(a.CompressedSize))
		extra.eight(uint64(a.Start))
	}
	size, compressed, start := clipped(a.Size), clipped(a.CompressedSize), clipped(a.Start)
	if len(extra) > 0 {
		size, compressed, start = math.MaxUint32, math.MaxUint32, math.MaxUint32
	}
	b.four(zipCentral)
	b.two(zipUnix | a.version())
	b.two(a.version())
	b.two(a.flags())
	b.two(a.method())
	b.two(0)
	b.two(zipDay)
	b.four(a.CRC32)
	b.four(compressed)
	b.four(size)
	b.two(uint16(len(a.Path)))
	b.two(uint16(len(extra)))
	b.two(0) // no comment
	b.two(0) // the first disk
	b.two(0)
	b.four(zipMode)
	b.four(start)
	return append(append(b, a.Path...), extra...)
}

// zipTail returns what stands behind the directory, which has so many entries and
// begins and ends there.
func zipTail(entries, start, end int64) []byte {
	var b zipBytes
	if entries >= math.MaxUint16 || end >= math.MaxUint32 {
		b.four(zipEnd64)
		b.eight(44) // of what follows
		b.two(zipUnix | zipLarge)
		b.two(zipLarge)
		b.four(0)
		b.four(0)
		b.eight(uint64(entries))
		b.eight(uint64(entries))
		b.eight(uint64(end - start))
		b.eight(uint64(start))
		b.four(zipLocator64)
		b.four(0)
		b.eight(uint64(end))
		b.four(1)
	}
	count := uint16(min(entries, math.MaxUint16))
	b.four(zipEnd)
	b.two(0)
	b.two(0)
	b.two(count)
	b.two(count)
	b.four(clipped(end - start))
	b.four(clipped(start))
	b.two(0)
	return b
}
