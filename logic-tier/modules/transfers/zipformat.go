package transfers

import (
	"encoding/binary"
	"math"
)

// The records of a .zip (PKWARE's APPNOTE 6.3) that exports write. Readers rely on the
// directory at its end, so unfinished data of interrupted workers can remain between
// entries. archive/zip cannot be used, because it can only write a whole archive in one
// process, while an export can be resumed by another worker.
const (
	zipLocalHeader    = 0x04034b50
	zipDataDescriptor = 0x08074b50
	zipCentralHeader  = 0x02014b50
	zipEndRecord      = 0x06054b50
	zipEndRecord64    = 0x06064b50
	zipEndLocator64   = 0x07064b50

	zipStored, zipDeflated     = 0, 8
	zipVersion20, zipVersion45 = 20, 45 // needed to extract; 4.5 for Zip64
	zipMadeByUnix              = 3 << 8
	zipHasDescriptor           = 0x8   // flag: checksum and sizes follow the content
	zipUTF8                    = 0x800 // flag: the name is UTF-8
	zipDate                    = 0x21  // 1980-01-01, always, so that the same talk has the same bytes
	zipFileMode                = 0o100644 << 16
	zipExtra64                 = 1
)

type zipBytes []byte

func (b *zipBytes) put16(v uint16) { *b = binary.LittleEndian.AppendUint16(*b, v) }
func (b *zipBytes) put32(v uint32) { *b = binary.LittleEndian.AppendUint32(*b, v) }
func (b *zipBytes) put64(v uint64) { *b = binary.LittleEndian.AppendUint64(*b, v) }

// clampUint32 returns v, or the maximum, which marks a value stored in the Zip64 extra
// field.
func clampUint32(v int64) uint32 { return uint32(min(v, math.MaxUint32)) }

// needsZip64 reports whether a size does not fit in 32 bits.
func (e zipEntry) needsZip64() bool {
	return e.Size >= math.MaxUint32 || e.CompressedSize >= math.MaxUint32
}

func (e zipEntry) method() uint16 {
	if e.Stored {
		return zipStored
	}
	return zipDeflated
}

// flags returns the general purpose flags. A stored entry's checksum follows its content,
// because it is not known before.
func (e zipEntry) flags() uint16 {
	if e.Stored {
		return zipUTF8 | zipHasDescriptor
	}
	return zipUTF8
}

func (e zipEntry) version() uint16 {
	if e.needsZip64() || e.Start >= math.MaxUint32 {
		return zipVersion45
	}
	return zipVersion20
}

// localHeader returns the record before the content.
func (e zipEntry) localHeader() []byte {
	var b, extra zipBytes
	if e.needsZip64() {
		extra.put16(zipExtra64)
		extra.put16(16)
		extra.put64(uint64(e.Size))
		extra.put64(uint64(e.CompressedSize))
	}
	b.put32(zipLocalHeader)
	b.put16(e.version())
	b.put16(e.flags())
	b.put16(e.method())
	b.put16(0) // midnight
	b.put16(zipDate)
	if e.Stored {
		b.put32(0)
	} else {
		b.put32(e.CRC32)
	}
	b.put32(clampUint32(e.CompressedSize))
	b.put32(clampUint32(e.Size))
	b.put16(uint16(len(e.Path)))
	b.put16(uint16(len(extra)))
	return append(append(b, e.Path...), extra...)
}

// dataDescriptor returns the record after a stored content.
func (e zipEntry) dataDescriptor() []byte {
	var b zipBytes
	b.put32(zipDataDescriptor)
	b.put32(e.CRC32)
	if e.needsZip64() {
		b.put64(uint64(e.CompressedSize))
		b.put64(uint64(e.Size))
	} else {
		b.put32(uint32(e.CompressedSize))
		b.put32(uint32(e.Size))
	}
	return b
}

// centralHeader returns the entry's record in the directory.
func (e zipEntry) centralHeader() []byte {
	var b, extra zipBytes
	if e.needsZip64() || e.Start >= math.MaxUint32 {
		extra.put16(zipExtra64)
		extra.put16(24)
		extra.put64(uint64(e.Size))
		extra.put64(uint64(e.CompressedSize))
		extra.put64(uint64(e.Start))
	}
	size, compressed, start := clampUint32(e.Size), clampUint32(e.CompressedSize), clampUint32(e.Start)
	if len(extra) > 0 {
		size, compressed, start = math.MaxUint32, math.MaxUint32, math.MaxUint32
	}
	b.put32(zipCentralHeader)
	b.put16(zipMadeByUnix | e.version())
	b.put16(e.version())
	b.put16(e.flags())
	b.put16(e.method())
	b.put16(0)
	b.put16(zipDate)
	b.put32(e.CRC32)
	b.put32(compressed)
	b.put32(size)
	b.put16(uint16(len(e.Path)))
	b.put16(uint16(len(extra)))
	b.put16(0) // no comment
	b.put16(0) // disk number
	b.put16(0)
	b.put32(zipFileMode)
	b.put32(start)
	return append(append(b, e.Path...), extra...)
}

// zipEndRecords returns the records after the directory, which has the given number of
// entries and lies between the offsets start and end.
func zipEndRecords(entries, start, end int64) []byte {
	var b zipBytes
	if entries >= math.MaxUint16 || end >= math.MaxUint32 {
		b.put32(zipEndRecord64)
		b.put64(44) // size of the rest of this record
		b.put16(zipMadeByUnix | zipVersion45)
		b.put16(zipVersion45)
		b.put32(0)
		b.put32(0)
		b.put64(uint64(entries))
		b.put64(uint64(entries))
		b.put64(uint64(end - start))
		b.put64(uint64(start))
		b.put32(zipEndLocator64)
		b.put32(0)
		b.put64(uint64(end))
		b.put32(1)
	}
	count := uint16(min(entries, math.MaxUint16))
	b.put32(zipEndRecord)
	b.put16(0)
	b.put16(0)
	b.put16(count)
	b.put16(count)
	b.put32(clampUint32(end - start))
	b.put32(clampUint32(start))
	b.put16(0)
	return b
}
