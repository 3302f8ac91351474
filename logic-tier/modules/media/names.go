package media

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"

	"techtalks.example/logic-tier/platform/apperror"
)

var (
	errNoUpload    = apperror.New(apperror.NotFound, "UPLOAD_NOT_FOUND", "there is no such upload; it may have expired: start a new one")
	errNoRecording = apperror.New(apperror.NotFound, "RECORDING_NOT_FOUND", "there is no such recording")
	errNoFile      = apperror.New(apperror.NotFound, "FILE_NOT_FOUND", "there is no such file")
)

// idAlphabet is the base32 alphabet of RFC 4648 in lower case, which needs no escaping in
// a URL.
const idAlphabet = "abcdefghijklmnopqrstuvwxyz234567"

var idEncoding = base32.NewEncoding(idAlphabet).WithPadding(base32.NoPadding)

// idBytes is the length of an id before encoding: 128 bits cannot be guessed.
const idBytes = 16

// newID returns a random id of 26 letters and digits.
func newID() string {
	var random [idBytes]byte
	_, _ = rand.Read(random[:]) // never fails
	return idEncoding.EncodeToString(random[:])
}

// idForRequest returns the id of the resource that a request of an account creates, the same
// for every retry of the request. It is as hard to guess as the request id, which the
// client chooses.
func idForRequest(account int64, request string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", account, strings.ToLower(request)))
	return idEncoding.EncodeToString(sum[:idBytes])
}

func isID(s string) bool {
	return len(s) == idEncoding.EncodedLen(idBytes) && strings.Trim(s, idAlphabet) == ""
}

// Names of a recording's files.
const (
	fileOriginal = "original"
	file480p     = "480p"
	filePoster   = "poster"
)

// parseUpload parses "uploads/{upload}". A malformed name is reported as not found, so
// that guessing reveals nothing about valid names.
func parseUpload(name string) (id string, err error) {
	id, ok := strings.CutPrefix(name, "uploads/")
	if !ok || !isID(id) {
		return "", errNoUpload
	}
	return id, nil
}

// parseRecording parses "recordings/{recording}".
func parseRecording(name string) (id string, err error) {
	id, ok := strings.CutPrefix(name, "recordings/")
	if !ok || !isID(id) {
		return "", errNoRecording
	}
	return id, nil
}

// fileRef identifies the file of an upload, or one file of a recording.
type fileRef struct{ upload, recording, file string }

// parseFileRef parses "uploads/{upload}" or "recordings/{recording}/{file}".
func parseFileRef(name string) (fileRef, error) {
	if id, err := parseUpload(name); err == nil {
		return fileRef{upload: id}, nil
	}
	slash := strings.LastIndexByte(name, '/')
	if slash < 0 {
		return fileRef{}, errNoFile
	}
	id, err := parseRecording(name[:slash])
	if err != nil {
		return fileRef{}, errNoFile
	}
	switch file := name[slash+1:]; file {
	case fileOriginal, file480p, filePoster:
		return fileRef{recording: id, file: file}, nil
	}
	return fileRef{}, errNoFile
}

// String returns the resource name.
func (r fileRef) String() string {
	if r.upload != "" {
		return "uploads/" + r.upload
	}
	return "recordings/" + r.recording + "/" + r.file
}
