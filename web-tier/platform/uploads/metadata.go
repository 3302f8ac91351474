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

// readMetadata reads what a client says of a file (Upload-Metadata: keys and
// values in base64). What is not asked for is passed over.
func readMetadata(header string) (f File, err error) {
	if len(header) > maxMetadata {
		return f, noMetadata
	}
	for pair := range strings.SplitSeq(header, ",") {
		key, encoded, _ := strings.Cut(strings.TrimSpace(pair), " ")
		value, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil || !utf8.Valid(value) {
			return f, noMetadata
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

// BaseName returns a file's name without the folders that some clients tell.
func BaseName(path string) string { return path[strings.LastIndexAny(path, `/\`)+1:] }

// MediaType returns a media type without its parameters; empty when it is none.
func MediaType(text string) string {
	kind, _, err := mime.ParseMediaType(text)
	if err != nil || !mediaType.MatchString(kind) {
		return ""
	}
	return kind
}

// mediaType is the contract's (CreateUploadRequest.content_type): a type that
// it would refuse is none, since it is not believed anyway.
var mediaType = regexp.MustCompile(`^[a-z0-9.+-]{1,50}/[a-z0-9.+-]{1,49}$`)

// writeMetadata returns what is known of an upload, for Upload-Metadata.
func writeMetadata(upload *mediapb.Upload) string {
	var pairs []string
	for _, pair := range [][2]string{{"filename", upload.FileName}, {"filetype", upload.ContentType}} {
		if pair[1] != "" {
			pairs = append(pairs, pair[0]+" "+base64.StdEncoding.EncodeToString([]byte(pair[1])))
		}
	}
	return strings.Join(pairs, ",")
}

var noMetadata = &logicclient.Problem{Status: http.StatusBadRequest, Title: "That is no metadata",
	Message: "Say in Upload-Metadata keys and values in base64, such as “filename YS5tcDQ=”; 8 KB at most."}
