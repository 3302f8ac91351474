package media

import (
	"context"
	"crypto/sha256"
	"encoding"
	"fmt"
	"hash"

	"techtalks.example/logic-tier/platform/postgres"
)

// resume returns the running checksum of what a file has so far.
func (g *growing) resume() (hash.Hash, error) {
	digest := sha256.New()
	if len(g.digest) == 0 {
		return digest, nil
	}
	if err := digest.(encoding.BinaryUnmarshaler).UnmarshalBinary(g.digest); err != nil {
		return nil, fmt.Errorf("file %d: state of its checksum: %w", g.id, err)
	}
	return digest, nil
}

// add counts bytes at a file's end; nothing is kept yet.
func (g *growing) add(bytes []byte) error {
	digest, err := g.resume()
	if err != nil {
		return err
	}
	digest.Write(bytes)
	g.size += int64(len(bytes))
	g.digest, err = digest.(encoding.BinaryMarshaler).MarshalBinary()
	return err
}

// end makes a file whole.
func (g *growing) end() error {
	digest, err := g.resume()
	if err != nil {
		return err
	}
	g.sha256, g.digest = digest.Sum(nil), []byte{}
	return nil
}

// appending appends to an upload for one caller: it gathers what arrives until a
// chunk is full, and commits chunk by chunk. It holds at most one chunk. Not safe
// for concurrent use. One process has one of them on an upload, see appenders; those of
// two processes are told apart by their offsets.
type appending struct {
	module *Module
	upload upload
	buffer []byte // what comes after the upload's committed end
	begun  bool   // something was committed: it lives anew
	broken bool   // a commit failed: what is gathered belongs nowhere
}

// appendTo begins at offset, which must be where the upload ends.
func (m *Module) appendTo(u upload, offset int64) (*appending, error) {
	if offset != u.file.size {
		return nil, errOffset
	}
	return &appending{module: m, upload: u}, nil
}

// add takes what arrived: all of it, or, when that is more than the upload may
// have, nothing.
func (a *appending) add(ctx context.Context, bytes []byte) error {
	end := a.upload.file.size + int64(len(a.buffer))
	switch {
	case int64(len(bytes)) > a.module.most(a.upload)-end:
		return errTooLong
	case len(bytes) > 0 && a.upload.file.whole():
		return errWhole
	}
	for len(bytes) > 0 {
		room := inChunk(a.upload.file.size) - len(a.buffer)
		part := bytes[:min(room, len(bytes))]
		bytes = bytes[len(part):]
		if a.buffer == nil {
			a.buffer = make([]byte, 0, chunkSize)
		}
		if a.buffer = append(a.buffer, part...); len(part) == room {
			if err := a.commit(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// commit keeps what was gathered. It is not given up when the caller goes away.
func (a *appending) commit(ctx context.Context) error {
	if len(a.buffer) == 0 || a.broken {
		return nil
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer done()
	var wrong bool
	err := a.module.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) (err error) {
		wrong, err = a.extend(ctx, tx)
		return err
	})
	if err == nil && wrong {
		err = errChecksum
	}
	a.broken = err != nil
	a.begun, a.buffer = true, a.buffer[:0]
	return err
}

// extend keeps what was gathered when tx commits; wrong says that the upload is
// whole, and not what it was to be.
func (a *appending) extend(ctx context.Context, tx *postgres.Tx) (wrong bool, err error) {
	m, offset := a.module, a.upload.file.size
	f, found, err := m.store.lockFile(ctx, tx, a.upload.file.id, true)
	switch {
	case err != nil:
		return false, err
	case !found:
		return false, errNoUpload
	case f.size != offset || f.whole():
		return false, errOffset
	case m.full(int64(len(a.buffer))):
		return false, errFull
	case f.account != operator && f.stored+int64(len(a.buffer)) > m.needs.Limits.Stored:
		return false, errQuota
	}
	if err := f.add(a.buffer); err != nil {
		return false, err
	}
	if f.size == a.upload.size {
		if err := f.end(); err != nil {
			return false, err
		}
	}
	if wrong, err = m.keepOrRemove(ctx, tx, a.upload, &f); err != nil || wrong {
		return wrong, err
	}
	if err := m.storage.write(ctx, tx, f.id, offset, a.buffer); err != nil {
		return false, err
	}
	expires := a.upload.expires
	if !a.begun || f.whole() {
		if expires, err = m.store.touchUpload(ctx, tx, a.upload.id); err != nil {
			return false, err
		}
	}
	added := int64(len(a.buffer))
	tx.AfterCommit(func() {
		a.upload.file, a.upload.expires = f.file, expires
		m.total.Add(added)
	})
	return false, nil
}
