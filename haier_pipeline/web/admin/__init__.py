"""The admin pages: HTML for people, under ``/admin``, in English and Chinese.

Shells around the use cases of ``sync`` and the reads of ``catalog``, as REST is. They guard
themselves: a session that is opened with an API token, and a secret of the session in every form.
They hold no JavaScript at all, and the answers' policy allows none.
"""
