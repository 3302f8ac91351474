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
	errQuota       = apperror.New(apperror.Exhausted, "QUOTA_EXCEEDED", "storage quota exceeded: delete uploads or withdraw talks with recordings first")
	errStorageFull = apperror.New(apperror.Exhausted, "STORAGE_FULL", "this site has no room for more uploads: try again later, or ask its operators to delete recordings or raise the limit (--stored-limit)")
	errTooMany     = apperror.New(apperror.Exhausted, "TOO_MANY_UPLOADS", "your account has too many incomplete or unused uploads: finish or delete some first")
	errOffset      = apperror.New(apperror.Conflict, "OFFSET_MISMATCH", "the upload does not end at this offset: get its current offset with GetUpload and resume from there")
	errSuperseded  = apperror.New(apperror.Conflict, "UPLOAD_SUPERSEDED", "a newer request appends to the upload: get its current offset with GetUpload and resume from there")
	errComplete    = apperror.New(apperror.Conflict, "UPLOAD_WHOLE", "the upload is complete and takes no more bytes: start a new one")
	errTooLong     = apperror.New(apperror.Invalid, "UPLOAD_TOO_LONG", "there are more bytes than the upload can have: start a new one of the right size")
	errChecksum    = apperror.New(apperror.Invalid, "CHECKSUM_MISMATCH", "the SHA-256 of the received bytes does not match the file's; they were deleted: upload the file again")
)

// upload is a file that a client sends in chunks.
type upload struct {
	id                     string
	account                int64
	size                   int64  // the final size; 0 while unknown
	expectedSHA256         []byte // nil if unknown
	fileName, contentType  string
	request                string // the latest request that processes it; empty for none
	createTime, expireTime time.Time
	file                   file // the bytes received so far
}

// maxSize returns the maximum number of bytes of an upload.
func (m *Module) maxSize(u upload) int64 {
	if u.size > 0 {
		return u.size
	}
	return m.deps.Limits.UploadBytes
}

// isFull reports whether n more bytes would exceed the limit for all files. Uploads to
// other processes count from the next sweep on. Transcode outputs are never rejected: they
// are a fraction of uploads that were accepted.
func (m *Module) isFull(n int64) bool { return m.totalBytes.Load()+n > m.deps.Limits.TotalBytes }

// createUpload creates an upload. It reserves no space: the declared size is only compared
// with what is left of the quota, and bytes count when they arrive. generated means that a
// module uploads a file that it made for the account. If the account has made the request
// before, createUpload returns the upload that it created then.
func (m *Module) createUpload(ctx context.Context, u upload, generated bool, request string) (upload, error) {
	limits := m.deps.Limits
	if u.size > limits.UploadBytes {
		return u, apperror.InvalidField(errTooLong.Reason, "size", fmt.Sprintf("use at most %d bytes", limits.UploadBytes))
	}
	if m.isFull(max(u.size, 1)) {
		return u, errStorageFull
	}
	u.id = newID()
	if request != "" {
		u.id = idForRequest(u.account, request)
	}
	err := m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		var used usage
		if u.account != operatorAccount {
			var err error
			if used, err = m.store.lockUsage(ctx, tx, u.account, generated); err != nil {
				return err
			}
		}
		if request != "" {
			existing, err := m.store.lockUpload(ctx, tx, u.id)
			if !errors.Is(err, errNoUpload) {
				u = existing
				return err
			}
		}
		if u.account != operatorAccount {
			switch {
			case used.incomplete >= limits.IncompleteUploads || used.uploads >= limits.Uploads:
				return errTooMany
			case used.bytes+max(u.size, 1) > limits.AccountBytes:
				return errQuota
			}
		}
		return m.store.insertUpload(ctx, tx, &u, generated)
	})
	return u, err
}

// authorizedUpload returns an upload by its resource name if the caller can access it.
func (m *Module) authorizedUpload(ctx context.Context, name string) (upload, error) {
	p, err := principalFrom(ctx)
	if err != nil {
		return upload{}, err
	}
	id, err := parseUpload(name)
	if err != nil {
		return upload{}, err
	}
	u, err := m.store.upload(ctx, id)
	if err == nil && !p.canAccess(u) {
		return upload{}, errNoUpload
	}
	return u, err
}

// completeUpload marks an upload of unknown size as complete. It fails unless the upload
// has exactly size bytes, and does nothing if the upload is complete already.
func (m *Module) completeUpload(ctx context.Context, u upload, size int64) (upload, error) {
	var mismatch bool
	err := m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		f, found, err := m.store.lockFile(ctx, tx, u.file.id, false)
		switch {
		case err != nil:
			return err
		case !found:
			return errNoUpload
		case f.size != size, u.size > 0 && u.size != size:
			return errOffset
		case f.complete():
			u.file = f.file
			return nil
		}
		if err := f.seal(); err != nil {
			return err
		}
		if mismatch, err = m.saveOrReject(ctx, tx, u, &f); err != nil || mismatch {
			return err
		}
		u.file = f.file
		u.expireTime, err = m.store.renewUpload(ctx, tx, u.id)
		return err
	})
	if err == nil && mismatch {
		err = errChecksum
	}
	return u, err
}

// saveOrReject saves the row of an upload's file. If the file is complete and its checksum
// is not the expected one, saveOrReject deletes the upload instead and reports the
// mismatch.
func (m *Module) saveOrReject(ctx context.Context, tx *postgres.Tx, u upload, f *lockedFile) (mismatch bool, err error) {
	if f.complete() && u.expectedSHA256 != nil && !bytes.Equal(f.sha256, u.expectedSHA256) {
		return true, m.store.deleteUpload(ctx, tx, u.id)
	}
	return false, m.store.updateFile(ctx, tx, f)
}
