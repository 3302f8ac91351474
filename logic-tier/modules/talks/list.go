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

// filter says which talks are asked for.
type filter struct {
	channel              string // a slug; empty: all
	query, language, tag string
}

func (f filter) question() uint64 {
	return pagetoken.QueryFingerprint("talks", f.channel, f.query, f.language, f.tag)
}

// edge is a talk's place in a list: the latest first, or the best match first;
// the number decides between equals.
type edge struct {
	Published time.Time `json:"t,omitzero"`
	Rank      float64   `json:"r,omitempty"`
	ID        int64     `json:"i"`
}

// listed is a talk in a list.
type listed struct {
	talk
	rank float64
}

func (l listed) edge() edge {
	if l.rank != 0 {
		return edge{Rank: l.rank, ID: l.id}
	}
	return edge{Published: l.published, ID: l.id}
}

// list returns a page of talks, and the channel when one was asked for.
func (m *Module) list(ctx context.Context, f filter, token string, asked int32) (talks []listed, next, previous string, of *channel, err error) {
	f.query, f.tag = strings.TrimSpace(f.query), strings.ToLower(strings.TrimSpace(f.tag))
	question := f.question()
	from, err := pagetoken.Decode[edge](token, question)
	if err != nil {
		return nil, "", "", nil, err
	}
	size := pagetoken.Size(asked, talksPage, maxPage)
	var read []listed
	if f.channel != "" && f.query == "" && f.language == "" && f.tag == "" {
		// A channel's page: one statement.
		c, all, err := m.store.channelTalks(ctx, f.channel, from, size+1)
		if err != nil {
			return nil, "", "", nil, err
		}
		of, read = &c, all
	} else {
		var within int64
		if f.channel != "" {
			c, err := m.store.channel(ctx, f.channel)
			if err != nil {
				return nil, "", "", nil, err
			}
			of, within = &c, c.id
		}
		if read, err = m.store.talks(ctx, f, within, from, size+1); err != nil {
			return nil, "", "", nil, err
		}
	}
	talks, next, previous = pagetoken.Cut(read, size, from, question, listed.edge)
	return talks, next, previous, of, nil
}
