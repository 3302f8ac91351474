// Package pagetoken encodes and decodes page tokens (AIP-158). Tokens are opaque to clients,
// and are valid only for the query they were created for.
package pagetoken

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"

	"techtalks.example/logic-tier/platform/apperror"
)

// Token is the position of a page in a list.
type Token[K any] struct {
	// Backward selects the items before Key instead of those after it.
	Backward bool
	// Key is the sort key of the item at the edge of the adjacent page.
	Key K
}

// errInvalidToken is returned for a forged or truncated token, or one of another query.
var errInvalidToken = apperror.InvalidField("PAGE_TOKEN_INVALID", "page_token", "invalid page token: pass a returned token unchanged, with the other fields as in the first request; or start again without one")

// QueryFingerprint returns a fingerprint of the parameters that determine which items a list
// contains, without those of the page.
func QueryFingerprint(parts ...string) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return h.Sum64()
}

// encoded is the JSON form of a token.
type encoded[K any] struct {
	Query    uint64 `json:"q"`
	Backward bool   `json:"b,omitempty"`
	Key      K      `json:"k"`
}

// Encode returns the token as text, for the query with the given fingerprint.
func (t Token[K]) Encode(query uint64) string {
	text, err := json.Marshal(encoded[K]{query, t.Backward, t.Key})
	if err != nil {
		panic(err) // cannot happen: keys are plain structs
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// Decode decodes a token of the query with the given fingerprint. It returns nil for an
// empty text, which stands for the first page.
func Decode[K any](text string, query uint64) (*Token[K], error) {
	if text == "" {
		return nil, nil
	}
	plain, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errInvalidToken
	}
	var e encoded[K]
	if json.Unmarshal(plain, &e) != nil || e.Query != query {
		return nil, errInvalidToken
	}
	t := Token[K]{e.Backward, e.Key}
	if t.Encode(query) != text { // each token has one encoding
		return nil, errInvalidToken
	}
	return &t, nil
}

// Size returns the page size for a request: defaultSize if the request has none, and at most
// maxSize.
func Size(requested int32, defaultSize, maxSize int) int {
	if requested == 0 {
		return defaultSize
	}
	return min(int(requested), maxSize)
}

// Cut turns the items read from token from on into a page of at most size items, in list
// order, with the tokens of the next and previous pages. The caller reads up to size+1 items
// in the direction of from: the extra item shows that another page follows. key returns an
// item's sort key.
func Cut[T, K any](read []T, size int, from *Token[K], query uint64, key func(T) K) (items []T, next, previous string) {
	more := len(read) > size
	if more {
		read = read[:size]
	}
	backward := from != nil && from.Backward
	if backward {
		for i, j := 0, len(read)-1; i < j; i, j = i+1, j-1 {
			read[i], read[j] = read[j], read[i]
		}
	}
	if len(read) == 0 {
		return nil, "", ""
	}
	// A page always exists in the direction that the client came from.
	if more && !backward || backward {
		next = Token[K]{Key: key(read[len(read)-1])}.Encode(query)
	}
	if more && backward || from != nil && !backward {
		previous = Token[K]{Backward: true, Key: key(read[0])}.Encode(query)
	}
	return read, next, previous
}
