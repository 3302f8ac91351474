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

// checkpoint says how many segments are kept. It is for whoever looks at the
// operation: a worker that goes on looks at the parts themselves, of which there
// may be one more.
func checkpoint(segments int) proto.Message { return wrapperspb.Int64(int64(segments)) }

// fetch copies a file out of the storage into the work folder.
func (k *making) fetch(ctx context.Context, f file, name string) (err error) {
	to, err := os.OpenFile(k.folder.file(name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	return k.pieces(ctx, f, 0, f.size, func(piece []byte) error {
		_, err := to.Write(piece)
		return err
	})
}

// keep keeps a file of the work folder as a part of the operation's work: there,
// whole, or not at all.
func (k *making) keep(ctx context.Context, name string, width, height int) (err error) {
	from, err := os.Open(k.folder.file(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	size, err := from.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	p := part{operation: k.Name, name: name, upload: k.upload.id, width: width, height: height}
	if err := k.store.beginPart(ctx, &p); err != nil {
		return err
	}
	chunk := make([]byte, chunkSize)
	for offset := int64(0); offset < size; offset += chunkSize {
		n := int(min(chunkSize, size-offset))
		if _, err := from.ReadAt(chunk[:n], offset); err != nil {
			return err
		}
		if p.file, err = k.grow(ctx, p.file, chunk[:n], offset+int64(n) == size); err != nil {
			return err
		}
	}
	k.kept[name] = p
	return nil
}

// grow adds a chunk at a part's end.
func (m *Module) grow(ctx context.Context, f file, chunk []byte, last bool) (file, error) {
	ctx, done := context.WithTimeout(ctx, commitTimeout)
	defer done()
	err := m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		g, found, err := m.store.lockFile(ctx, tx, f.id, false)
		switch {
		case err != nil:
			return err
		case !found, g.size != f.size:
			return errElsewhere
		}
		if err := g.add(chunk); err != nil {
			return err
		}
		if last {
			if err := g.end(); err != nil {
				return err
			}
		}
		if err := m.storage.write(ctx, tx, g.id, f.size, chunk); err != nil {
			return err
		}
		if err := m.store.growFile(ctx, tx, &g); err != nil {
			return err
		}
		f = g.file
		return nil
	})
	return f, err
}

// errElsewhere: a worker that took this one for dead has begun the same part.
var errElsewhere = errors.New("somebody else makes this part")
