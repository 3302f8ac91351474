package media

import (
	"context"
	"errors"
)

// named is a file with what it is called.
type named struct {
	name                  fileName
	fileName, contentType string
	file
}

// fileFor returns the file of a name, for who asks. A recording's is anybody's;
// an upload's is its account's once it is whole, and always a module's.
func (m *Module) fileFor(ctx context.Context, name string) (named, error) {
	parsed, err := parseFile(name)
	if err != nil {
		return named{}, err
	}
	if parsed.recording != "" {
		return m.store.recordingFile(ctx, parsed)
	}
	asks, err := whoAsks(ctx)
	if err != nil {
		return named{}, err
	}
	u, err := m.store.upload(ctx, parsed.upload)
	switch {
	case errors.Is(err, errNoUpload), err == nil && !asks.mayUse(u), err == nil && !u.file.whole() && !asks.module:
		return named{}, errNoFile
	}
	return named{parsed, u.fileName, u.contentType, u.file}, err
}

// pieces calls give for the bytes from offset to end, a chunk at most each time.
// Nothing is held while give waits.
func (m *Module) pieces(ctx context.Context, f file, offset, end int64, give func([]byte) error) error {
	for offset < end {
		piece, err := m.piece(ctx, f.id, offset, int(min(end-offset, chunkSize)))
		if err != nil {
			return err
		}
		if err := give(piece); err != nil {
			return err
		}
		offset += int64(len(piece))
	}
	return nil
}

func (m *Module) piece(ctx context.Context, file, offset int64, most int) ([]byte, error) {
	ctx, done := context.WithTimeout(ctx, readTimeout)
	defer done()
	piece, err := m.storage.read(ctx, file, offset, most)
	if err == nil && len(piece) == 0 {
		err = errNoFile // removed while it was read
	}
	return piece, err
}
