package uploads

import (
	"encoding/base64"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/web-tier/platform/logicclient"
)

// readMetadata parses the header Upload-Metadata, which holds keys and base64-encoded values. It
// ignores unknown keys.
func readMetadata(header string) (f File, err error) {
	if len(header) > maxMetadata {
		return f, errMetadata
	}
	for pair := range strings.SplitSeq(header, ",") {
		key, encoded, _ := strings.Cut(strings.TrimSpace(pair), " ")
		value, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil || !utf8.Valid(value) {
			return f, errMetadata
		}
		switch key {
		case "filename", "name":
			f.Name = BaseName(string(value))
		case "filetype", "type":
			f.ContentType = MediaType(string(value))
		case "sha256":
			f.SHA256 = string(value)
		}
	}
	return f, nil
}

// BaseName returns the last element of path, without the folders that some clients send.
func BaseName(path string) string { return path[strings.LastIndexAny(path, `/\`)+1:] }

// MediaType returns contentType without its parameters, or "" if it is invalid.
func MediaType(contentType string) string {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil || !validMediaType.MatchString(mediaType) {
		return ""
	}
	return mediaType
}

// validMediaType is the contract's rule (CreateUploadRequest.content_type). A type that the
// contract would reject is dropped: the logic tier does not trust it anyway.
var validMediaType = regexp.MustCompile(`^[a-z0-9.+-]{1,50}/[a-z0-9.+-]{1,49}$`)

// writeMetadata returns the value of the header Upload-Metadata for an upload.
func writeMetadata(upload *mediapb.Upload) string {
	var pairs []string
	for _, pair := range [][2]string{{"filename", upload.FileName}, {"filetype", upload.ContentType}} {
		if pair[1] != "" {
			pairs = append(pairs, pair[0]+" "+base64.StdEncoding.EncodeToString([]byte(pair[1])))
		}
	}
	return strings.Join(pairs, ",")
}

var errMetadata = &logicclient.Problem{Status: http.StatusBadRequest, Title: "Invalid metadata",
	Message: "Set Upload-Metadata to pairs of a key and a base64-encoded value, such as “filename YS5tcDQ=”, at most 8 KB."}
