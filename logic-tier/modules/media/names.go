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
	errNoUpload    = apperror.New(apperror.NotFound, "UPLOAD_NOT_FOUND", "there is no such upload; it may have expired: begin another")
	errNoRecording = apperror.New(apperror.NotFound, "RECORDING_NOT_FOUND", "there is no such recording")
	errNoFile      = apperror.New(apperror.NotFound, "FILE_NOT_FOUND", "there is no such file")
)

// letters are those of an id, RFC 4648's in lower case: safe in any address.
const letters = "abcdefghijklmnopqrstuvwxyz234567"

var ids = base32.NewEncoding(letters).WithPadding(base32.NoPadding)

// idBytes are an id's random bytes: nobody guesses 128 bits.
const idBytes = 16

// newID returns the last part of the name of something new, 26 letters.
func newID() string {
	var random [idBytes]byte
	_, _ = rand.Read(random[:]) // never fails
	return ids.EncodeToString(random[:])
}

// idOf returns the id of what a request of an account's makes: the same again for the
// same request. Nobody guesses it who does not guess the request's own, which is the
// caller's to choose.
func idOf(account int64, request string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", account, strings.ToLower(request)))
	return ids.EncodeToString(sum[:idBytes])
}

func isID(s string) bool {
	return len(s) == ids.EncodedLen(idBytes) && strings.Trim(s, letters) == ""
}

// The files of a recording.
const (
	original = "original"
	small    = "480p"
	poster   = "poster"
)

// parseUpload reads "uploads/{upload}". A name that none could have is one that
// is not there: whoever guesses learns nothing.
func parseUpload(name string) (id string, err error) {
	id, isUpload := strings.CutPrefix(name, "uploads/")
	if !isUpload || !isID(id) {
		return "", errNoUpload
	}
	return id, nil
}

// parseRecording reads "recordings/{recording}".
func parseRecording(name string) (id string, err error) {
	id, isRecording := strings.CutPrefix(name, "recordings/")
	if !isRecording || !isID(id) {
		return "", errNoRecording
	}
	return id, nil
}

// fileName is the name of a file: an upload's, or one of a recording's.
type fileName struct{ upload, recording, file string }

// parseFile reads "uploads/{upload}" or "recordings/{recording}/{file}".
func parseFile(name string) (fileName, error) {
	if id, err := parseUpload(name); err == nil {
		return fileName{upload: id}, nil
	}
	at := strings.LastIndexByte(name, '/')
	if at < 0 {
		return fileName{}, errNoFile
	}
	id, err := parseRecording(name[:at])
	if err != nil {
		return fileName{}, errNoFile
	}
	switch file := name[at+1:]; file {
	case original, small, poster:
		return fileName{recording: id, file: file}, nil
	}
	return fileName{}, errNoFile
}

func (n fileName) String() string {
	if n.upload != "" {
		return "uploads/" + n.upload
	}
	return "recordings/" + n.recording + "/" + n.file
}
