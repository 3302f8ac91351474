// Package pagetoken makes and reads page tokens (AIP-158): opaque to their holders,
// and only good for the question they were made for.
package pagetoken

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"

	"techtalks.example/logic-tier/platform/apperror"
)

// Token is where a page begins.
type Token[K any] struct {
	// Backward asks for the items before the key instead of those after it.
	Backward bool
	// Key is the sort key of the item at the edge of the page before.
	Key K
}

// errToken: made up, cut off, or made for another question.
var errToken = apperror.InvalidField("PAGE_TOKEN_INVALID", "page_token", "use a token as it was given, with the other fields unchanged; or start again without one")

// Question is a fingerprint of all that decides which items there are, but for
// the page.
func Question(parts ...string) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return h.Sum64()
}

type wire[K any] struct {
	Question uint64 `json:"q"`
	Backward bool   `json:"b,omitempty"`
	Key      K      `json:"k"`
}

// Encode returns the token as text.
func (t Token[K]) Encode(question uint64) string {
	text, err := json.Marshal(wire[K]{question, t.Backward, t.Key})
	if err != nil {
		panic(err) // keys are plain structs
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// Decode reads a token that was made for question; empty text is no token.
func Decode[K any](text string, question uint64) (*Token[K], error) {
	if text == "" {
		return nil, nil
	}
	plain, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errToken
	}
	var w wire[K]
	if json.Unmarshal(plain, &w) != nil || w.Question != question {
		return nil, errToken
	}
	t := Token[K]{w.Backward, w.Key}
	if t.Encode(question) != text {
		return nil, errToken
	}
	return &t, nil
}

// Size returns how many items a page has: standard when none was asked for,
// at most most.
func Size(asked int32, standard, most int) int {
	if asked == 0 {
		return standard
	}
	return min(int(asked), most)
}

// Cut makes a page of what was read: one item more than size says that there is
// another page in the direction of reading. read is in the order of reading;
// the page is in the order of the list. key returns an item's sort key.
func Cut[T, K any](read []T, size int, from *Token[K], question uint64, key func(T) K) (items []T, next, previous string) {
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
	// There is something behind us when we came from there.
	if more && !backward || backward {
		next = Token[K]{Key: key(read[len(read)-1])}.Encode(question)
	}
	if more && backward || from != nil && !backward {
		previous = Token[K]{Backward: true, Key: key(read[0])}.Encode(question)
	}
	return read, next, previous
}
