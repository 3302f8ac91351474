package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/postgres"
)

var (
	errQuota      = apperror.New(apperror.Exhausted, "QUOTA_EXCEEDED", "your account would keep more than it may; delete uploads or withdraw talks with recordings first")
	errFull       = apperror.New(apperror.Exhausted, "STORAGE_FULL", "this site has no room for more uploads; try again later, or ask its operators to remove recordings or to raise the limit (--stored-limit)")
	errTooMany    = apperror.New(apperror.Exhausted, "TOO_MANY_UPLOADS", "your account has too many uploads that are not whole or not used; finish or delete some first")
	errOffset     = apperror.New(apperror.Conflict, "OFFSET_MISMATCH", "the upload does not end at this offset; ask with GetUpload where it ends and continue from there")
	errSuperseded = apperror.New(apperror.Conflict, "UPLOAD_SUPERSEDED", "a newer request appends to the upload; ask how far it is and continue from there")
	errWhole      = apperror.New(apperror.Conflict, "UPLOAD_WHOLE", "the upload was said to be whole: nothing more belongs to it; begin another")
	errTooLong    = apperror.New(apperror.Invalid, "UPLOAD_TOO_LONG", "there are more bytes than the upload may have; begin another of the right size")
	errChecksum   = apperror.New(apperror.Invalid, "CHECKSUM_MISMATCH", "the bytes that arrived are not the file's: their SHA-256 is another. They were removed; upload the file anew")
)

// file is bytes that are kept. An account reads only what its name leads to.
type file struct {
	id, account int64
	size        int64
	sha256      []byte // nil while it grows
	updated     time.Time
}

func (f file) whole() bool { return f.sha256 != nil }

// upload is a file on its way in.
type upload struct {
	id                    string
	account               int64
	size                  int64  // 0 while it is not known
	claimed               []byte // nil when it is not known
	fileName, contentType string
	request               string // that last asked for a recording of it
	created, expires      time.Time
	file                  file
}

// most is how many bytes an upload may have.
func (m *Module) most(u upload) int64 {
	if u.size > 0 {
		return u.size
	}
	return m.needs.Limits.Upload
}

// full reports whether there is no room for so many more bytes of uploads. Other
// processes' bytes count from the next sweep on. What is made of uploads that were
// taken is not refused: it is a fraction of them.
func (m *Module) full(more int64) bool { return m.total.Load()+more > m.needs.Limits.Total }

// begin begins an upload. Bytes count when they are there: what is claimed is
// only compared with what the account could still keep. What the same request began
// before, by its id, is returned as it is.
func (m *Module) begin(ctx context.Context, u upload, made bool, request string) (upload, error) {
	if u.size > m.needs.Limits.Upload {
		return u, apperror.InvalidField(errTooLong.Reason, "size", fmt.Sprintf("use at most %d bytes", m.needs.Limits.Upload))
	}
	if m.full(max(u.size, 1)) {
		return u, errFull
	}
	u.id = newID()
	if request != "" {
		u.id = idOf(u.account, request)
	}
	err := m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		var has usage
		if u.account != operator {
			var err error
			if has, err = m.store.lockUsage(ctx, tx, u.account, made); err != nil {
				return err
			}
		}
		if request != "" {
			before, err := m.store.lockUpload(ctx, tx, u.id)
			if !errors.Is(err, errNoUpload) {
				u = before
				return err
			}
		}
		if u.account != operator {
			switch {
			case has.unfinished >= m.needs.Limits.Unfinished || has.uploads >= m.needs.Limits.Uploads:
				return errTooMany
			case has.stored+max(u.size, 1) > m.needs.Limits.Stored:
				return errQuota
			}
		}
		return m.store.addUpload(ctx, tx, &u, made)
	})
	return u, err
}

// uploadFor returns the upload of a name, for who asks.
func (m *Module) uploadFor(ctx context.Context, name string) (upload, error) {
	asks, err := whoAsks(ctx)
	if err != nil {
		return upload{}, err
	}
	id, err := parseUpload(name)
	if err != nil {
		return upload{}, err
	}
	u, err := m.store.upload(ctx, id)
	if err == nil && !asks.mayUse(u) {
		return upload{}, errNoUpload
	}
	return u, err
}

// complete says that an upload has all its bytes, so many.
func (m *Module) complete(ctx context.Context, u upload, size int64) (upload, error) {
	var broken bool
	err := m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		f, found, err := m.store.lockFile(ctx, tx, u.file.id, false)
		switch {
		case err != nil:
			return err
		case !found:
			return errNoUpload
		case f.size != size, u.size > 0 && u.size != size:
			return errOffset
		case f.whole():
			u.file = f.file
			return nil
		}
		if err := f.end(); err != nil {
			return err
		}
		if broken, err = m.keepOrRemove(ctx, tx, u, &f); err != nil || broken {
			return err
		}
		u.file = f.file
		u.expires, err = m.store.touchUpload(ctx, tx, u.id)
		return err
	})
	if err == nil && broken {
		err = errChecksum
	}
	return u, err
}

// keepOrRemove keeps how far an upload's file is; one that is whole and is not
// what it was to be is removed instead, which it says.
func (m *Module) keepOrRemove(ctx context.Context, tx *postgres.Tx, u upload, g *growing) (broken bool, err error) {
	if g.whole() && u.claimed != nil && !bytes.Equal(g.sha256, u.claimed) {
		return true, m.store.removeUpload(ctx, tx, u.id)
	}
	return false, m.store.growFile(ctx, tx, g)
}
