package media

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

// uploadAppender appends to an upload on behalf of one call. It buffers data up to the end
// of a chunk and commits chunk by chunk, so it holds at most one chunk. It is not safe for
// concurrent use. A process has at most one per upload (see appendSessions); appenders in
// two processes are serialised by their offsets.
type uploadAppender struct {
	module  *Module
	upload  upload
	buffer  []byte // data after the committed end of the upload
	renewed bool   // the call has extended the lifetime of the upload
	failed  bool   // a commit failed: the buffer is lost
}

// newUploadAppender returns an appender that starts at offset, which must be the current
// end of the upload.
func (m *Module) newUploadAppender(u upload, offset int64) (*uploadAppender, error) {
	if offset != u.file.size {
		return nil, errOffset
	}
	return &uploadAppender{module: m, upload: u}, nil
}

// write appends data. If the upload would become larger than allowed, write appends
// nothing.
func (a *uploadAppender) write(ctx context.Context, data []byte) error {
	end := a.upload.file.size + int64(len(a.buffer))
	switch {
	case int64(len(data)) > a.module.maxSize(a.upload)-end:
		return errTooLong
	case len(data) > 0 && a.upload.file.complete():
		return errComplete
	}
	for len(data) > 0 {
		free := chunkRemainder(a.upload.file.size) - len(a.buffer)
		n := min(free, len(data))
		if a.buffer == nil {
			a.buffer = make([]byte, 0, chunkSize)
		}
		a.buffer = append(a.buffer, data[:n]...)
		data = data[n:]
		if n == free {
			if err := a.commit(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// commit stores the buffered data. It continues when ctx ends: what a client has sent is
// stored even if the client disconnects.
func (a *uploadAppender) commit(ctx context.Context) error {
	if len(a.buffer) == 0 || a.failed {
		return nil
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer done()
	var mismatch bool
	err := a.module.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) (err error) {
		mismatch, err = a.commitIn(ctx, tx)
		return err
	})
	if err == nil && mismatch {
		err = errChecksum
	}
	a.failed = err != nil
	a.renewed, a.buffer = true, a.buffer[:0]
	return err
}

// commitIn stores the buffered data as part of tx. It reports a checksum mismatch, for
// which it deletes the upload, when the upload is complete and is not the expected file.
// It fails with errOffset when another process has appended to the upload meanwhile.
func (a *uploadAppender) commitIn(ctx context.Context, tx *postgres.Tx) (mismatch bool, err error) {
	m, offset := a.module, a.upload.file.size
	f, found, err := m.store.lockFile(ctx, tx, a.upload.file.id, true)
	switch {
	case err != nil:
		return false, err
	case !found:
		return false, errNoUpload
	case f.size != offset || f.complete():
		return false, errOffset
	case m.isFull(int64(len(a.buffer))):
		return false, errStorageFull
	case f.account != operatorAccount && f.accountBytes+int64(len(a.buffer)) > m.deps.Limits.AccountBytes:
		return false, errQuota
	}
	if err := f.extend(a.buffer); err != nil {
		return false, err
	}
	if f.size == a.upload.size {
		if err := f.seal(); err != nil {
			return false, err
		}
	}
	if mismatch, err = m.saveOrReject(ctx, tx, a.upload, &f); err != nil || mismatch {
		return mismatch, err
	}
	if err := m.chunks.write(ctx, tx, f.id, offset, a.buffer); err != nil {
		return false, err
	}
	expireTime := a.upload.expireTime
	if !a.renewed || f.complete() {
		if expireTime, err = m.store.renewUpload(ctx, tx, a.upload.id); err != nil {
			return false, err
		}
	}
	added := int64(len(a.buffer))
	tx.AfterCommit(func() {
		a.upload.file, a.upload.expireTime = f.file, expireTime
		m.totalBytes.Add(added)
	})
	return false, nil
}
