// Package transcript reads recorded conversations in the shapes that others
// keep them, and gives them as conversation.Conversations.
//
//	JSON Lines, a JSON array, or Parquet
//	{"messages": [{"role": "user", "content": "…"}, …]}          the chat API
//	{"conversations": [{"from": "human", "value": "…"}, …]}      ShareGPT
//	{"session_id": "…", "turns": [{"text": "…"}, …]}             AIPerf multi_turn
//	{"id": "…", "system": "…", "turns": [{"user": "…"}, …]}      this project's own
//	{"prompt": "…", "response": "…"}                             single requests
//
// One answer of the recording is one request: all that stands between two
// answers (what the user says, what tools returned) becomes what the user says
// in that turn. An answer that called tools is the text that the model wrote to
// call them. What cannot be kept is counted by its reason, never passed over.
//
// Where the source counts no tokens they are estimated from characters.
package transcript
