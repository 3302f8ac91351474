package media

import (
	"context"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"time"
)

// file is a stored file. It grows by appending until it is complete. Clients address it
// by the resource name of its upload or recording, never by its id.
type file struct {
	id, account int64
	size        int64
	sha256      []byte // nil until the file is complete
	updateTime  time.Time
}

func (f file) complete() bool { return f.sha256 != nil }

// lockedFile is a file whose row is locked for appending.
type lockedFile struct {
	file
	// digest is the marshalled state of the SHA-256 over the bytes so far; empty before the
	// first byte and once the file is complete.
	digest []byte
	// accountBytes is the total size of the account's files of the same sort, uploaded or
	// generated; 0 unless lockFile was asked for it.
	accountBytes int64
}

// hash returns the running checksum of the bytes so far.
func (f *lockedFile) hash() (hash.Hash, error) {
	h := sha256.New()
	if len(f.digest) == 0 {
		return h, nil
	}
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(f.digest); err != nil {
		return nil, fmt.Errorf("file %d: restore checksum state: %w", f.id, err)
	}
	return h, nil
}

// extend adds data to the size and the checksum. It stores nothing.
func (f *lockedFile) extend(data []byte) error {
	h, err := f.hash()
	if err != nil {
		return err
	}
	h.Write(data)
	f.size += int64(len(data))
	f.digest, err = h.(encoding.BinaryMarshaler).MarshalBinary()
	return err
}

// seal marks the file as complete. It stores nothing.
func (f *lockedFile) seal() error {
	h, err := f.hash()
	if err != nil {
		return err
	}
	f.sha256, f.digest = h.Sum(nil), []byte{}
	return nil
}

// namedFile is a file with the metadata that clients see.
type namedFile struct {
	ref                   fileRef
	fileName, contentType string
	file
}

// authorizedFile returns a file by its resource name if the caller can access it.
// Everyone can access the files of a recording. The file of an upload is accessible to
// the upload's account once it is complete, and to modules at any time.
func (m *Module) authorizedFile(ctx context.Context, name string) (namedFile, error) {
	ref, err := parseFileRef(name)
	if err != nil {
		return namedFile{}, err
	}
	if ref.recording != "" {
		return m.store.recordingFile(ctx, ref)
	}
	p, err := principalFrom(ctx)
	if err != nil {
		return namedFile{}, err
	}
	u, err := m.store.upload(ctx, ref.upload)
	switch {
	case errors.Is(err, errNoUpload), err == nil && !p.canAccess(u), err == nil && !u.file.complete() && !p.module:
		return namedFile{}, errNoFile
	}
	return namedFile{ref, u.fileName, u.contentType, u.file}, err
}

// readRange calls yield with the bytes from offset to end, at most a chunk at a time. It
// holds no database connection while yield runs.
func (m *Module) readRange(ctx context.Context, f file, offset, end int64, yield func([]byte) error) error {
	for offset < end {
		data, err := m.readChunk(ctx, f.id, offset, int(min(end-offset, chunkSize)))
		if err != nil {
			return err
		}
		if err := yield(data); err != nil {
			return err
		}
		offset += int64(len(data))
	}
	return nil
}

// readChunk returns at most limit bytes from offset to the end of the chunk.
func (m *Module) readChunk(ctx context.Context, file, offset int64, limit int) ([]byte, error) {
	ctx, done := context.WithTimeout(ctx, readTimeout)
	defer done()
	data, err := m.chunks.read(ctx, file, offset, limit)
	if err == nil && len(data) == 0 {
		err = errNoFile // deleted while it was read
	}
	return data, err
}
