package media

import (
	"context"
	"errors"
	"io"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/platform/postgres"
)

// checkpoint returns a checkpoint with the number of stored segments. It is for
// inspection only: a worker that resumes reads the outputs themselves, of which there can be
// one more.
func checkpoint(segments int) proto.Message { return wrapperspb.Int64(int64(segments)) }

// loadFile copies a stored file into the work directory.
func (t *transcode) loadFile(ctx context.Context, f file, name string) (err error) {
	dst, err := os.OpenFile(t.dir.file(name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	return t.readRange(ctx, f, 0, f.size, func(data []byte) error {
		_, err := dst.Write(data)
		return err
	})
}

// saveOutput stores a file of the work directory as an output of the operation. The output
// is visible only once it is complete.
func (t *transcode) saveOutput(ctx context.Context, name string, width, height int) (err error) {
	src, err := os.Open(t.dir.file(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	size, err := src.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	o := output{operation: t.Name, name: name, upload: t.upload.id, width: width, height: height}
	if err := t.store.createOutput(ctx, &o); err != nil {
		return err
	}
	chunk := make([]byte, chunkSize)
	for offset := int64(0); offset < size; offset += chunkSize {
		n := int(min(chunkSize, size-offset))
		if _, err := src.ReadAt(chunk[:n], offset); err != nil {
			return err
		}
		if o.file, err = t.appendChunk(ctx, o.file, chunk[:n], offset+int64(n) == size); err != nil {
			return err
		}
	}
	t.outputs[name] = o
	return nil
}

// appendChunk appends a chunk to the file of an output. The last chunk completes the file.
func (m *Module) appendChunk(ctx context.Context, f file, chunk []byte, last bool) (file, error) {
	ctx, done := context.WithTimeout(ctx, commitTimeout)
	defer done()
	err := m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		locked, found, err := m.store.lockFile(ctx, tx, f.id, false)
		switch {
		case err != nil:
			return err
		case !found, locked.size != f.size:
			return errOutputReplaced
		}
		if err := locked.extend(chunk); err != nil {
			return err
		}
		if last {
			if err := locked.seal(); err != nil {
				return err
			}
		}
		if err := m.chunks.write(ctx, tx, locked.id, f.size, chunk); err != nil {
			return err
		}
		if err := m.store.updateFile(ctx, tx, &locked); err != nil {
			return err
		}
		f = locked.file
		return nil
	})
	return f, err
}

// errOutputReplaced: another worker, which considers this one dead, writes the same output.
var errOutputReplaced = errors.New("another worker has replaced this output")
