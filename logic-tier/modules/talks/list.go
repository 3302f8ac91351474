package talks

import (
	"context"
	"strings"
	"time"

	"techtalks.example/logic-tier/platform/pagetoken"
)

// Page sizes of the contract.
const (
	talksPage = 20
	maxPage   = 100
)

// filter selects the talks of a list.
type filter struct {
	channel              string // a slug; empty for all channels
	query, language, tag string
}

func (f filter) question() uint64 {
	return pagetoken.QueryFingerprint("talks", f.channel, f.query, f.language, f.tag)
}

// talkKey is a talk's sort key: by publish time, or by rank in search results, both
// descending; the id breaks ties.
type talkKey struct {
	Published time.Time `json:"t,omitzero"`
	Rank      float64   `json:"r,omitempty"`
	ID        int64     `json:"i"`
}

// listedTalk is a talk with its search rank, 0 in lists without a search.
type listedTalk struct {
	talk
	rank float64
}

func (l listedTalk) sortKey() talkKey {
	if l.rank != 0 {
		return talkKey{Rank: l.rank, ID: l.id}
	}
	return talkKey{Published: l.published, ID: l.id}
}

// list returns a page of talks with the tokens of the next and previous page, and the
// channel if the filter has one.
func (m *Module) list(ctx context.Context, f filter, token string, requestedSize int32) (talks []listedTalk, next, previous string, inChannel *channel, err error) {
	f.query, f.tag = strings.TrimSpace(f.query), strings.ToLower(strings.TrimSpace(f.tag))
	question := f.question()
	cursor, err := pagetoken.Decode[talkKey](token, question)
	if err != nil {
		return nil, "", "", nil, err
	}
	size := pagetoken.Size(requestedSize, talksPage, maxPage)
	var rows []listedTalk
	if f.channel != "" && f.query == "" && f.language == "" && f.tag == "" {
		// The channel page, the most frequent list, takes a single statement.
		c, found, err := m.store.channelTalks(ctx, f.channel, cursor, size+1)
		if err != nil {
			return nil, "", "", nil, err
		}
		inChannel, rows = &c, found
	} else {
		var channelID int64
		if f.channel != "" {
			c, err := m.store.channel(ctx, f.channel)
			if err != nil {
				return nil, "", "", nil, err
			}
			inChannel, channelID = &c, c.id
		}
		if rows, err = m.store.talks(ctx, f, channelID, cursor, size+1); err != nil {
			return nil, "", "", nil, err
		}
	}
	talks, next, previous = pagetoken.Cut(rows, size, cursor, question, listedTalk.sortKey)
	return talks, next, previous, inChannel, nil
}
