package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// madeTalks is the size of the catalogue that is made when there is no real one:
// that of pyvideo's.
const madeTalks = 16_000

// talksPerEvent is how many talks a made event has.
const talksPerEvent = 40

// openCatalogue returns the catalogue to measure with, made when none was named.
func (b *bench) openCatalogue() (string, error) {
	if b.catalogue != "" {
		_, err := os.Stat(b.catalogue)
		return b.catalogue, err
	}
	made := filepath.Join(b.folder, "catalogue")
	return made, makeCatalogue(made, b.size(madeTalks, 500))
}

// makeCatalogue writes a catalogue of made-up talks in the layout of pyvideo.
// The same number makes the same catalogue.
func makeCatalogue(folder string, talks int) error {
	random := rand.New(rand.NewPCG(1, uint64(talks)))
	words := vocabulary(random)
	for n := range talks {
		event := filepath.Join(folder, fmt.Sprintf("event-%d", n/talksPerEvent))
		if n%talksPerEvent == 0 {
			if err := os.MkdirAll(filepath.Join(event, "videos"), 0o755); err != nil {
				return err
			}
			if err := writeJSON(filepath.Join(event, "category.json"), map[string]any{"title": fmt.Sprintf("Made event %d", n/talksPerEvent)}); err != nil {
				return err
			}
		}
		if err := writeJSON(filepath.Join(event, "videos", fmt.Sprintf("talk-%d.json", n)), map[string]any{
			"title":       fmt.Sprintf("%s %d", sentence(random, words, 4+random.IntN(5)), n),
			"speakers":    []string{sentence(random, words, 2)},
			"language":    []string{"eng", "spa", "deu", "fra"}[random.IntN(4)],
			"tags":        []string{words[random.IntN(200)], words[random.IntN(200)]},
			"description": sentence(random, words, 40+random.IntN(160)),
			"recorded":    time.Date(2010, 1, 1+random.IntN(5000), 0, 0, 0, 0, time.UTC).Format(time.DateOnly),
			"duration":    600 + random.IntN(3000),
			"videos":      []map[string]string{{"type": "youtube", "url": fmt.Sprintf("https://www.youtube.com/watch?v=%011d", n)}},
		}); err != nil {
			return err
		}
	}
	return nil
}

// vocabulary makes words, the first of them the common ones.
func vocabulary(random *rand.Rand) []string {
	syllables := strings.Fields("da ta ba se py thon go lang ser ver queue mes sage pat tern test ing de sign sys tem net work type safe")
	words := make([]string, 5000)
	for i := range words {
		var w strings.Builder
		for range 2 + random.IntN(3) {
			w.WriteString(syllables[random.IntN(len(syllables))])
		}
		words[i] = w.String()
	}
	return words
}

// sentence picks words, common ones more often, as in a language (Zipf).
func sentence(random *rand.Rand, words []string, n int) string {
	zipf := rand.NewZipf(random, 1.1, 4, uint64(len(words)-1))
	picked := make([]string, n)
	for i := range picked {
		picked[i] = words[zipf.Uint64()]
	}
	return strings.Join(picked, " ")
}

func writeJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
