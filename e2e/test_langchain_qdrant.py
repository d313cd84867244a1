"""LangChain's QdrantVectorStore, unmodified: two tenants with a collection of one name."""

import uuid

import pytest
from embedding import cosine, dense, shared, sparse
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseEmbeddings
from langchain_qdrant.sparse_embeddings import SparseVector
from qdrant_client import models as m
from ranking import Point, diverse, reciprocal

TEXTS = [
    "invoices of May are due on Monday",
    "invoices of June are paid on Friday",
    "the harbour is closed on Monday",
    "a cat sleeps on a green hill",
    "green invoices for the harbour",
]
ASKED = "which invoices are due"


class Dense(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [dense(each) for each in texts]

    def embed_query(self, text: str) -> list[float]:
        return dense(text)


class Sparse(SparseEmbeddings):
    def embed_documents(self, texts: list[str]) -> list[SparseVector]:
        return [self.embed_query(each) for each in texts]

    def embed_query(self, text: str) -> SparseVector:
        indices, values = sparse(text)
        return SparseVector(indices=indices, values=values)


OF_MODE = {
    RetrievalMode.DENSE: {"embedding": Dense()},
    RetrievalMode.SPARSE: {"sparse_embedding": Sparse()},
    RetrievalMode.HYBRID: {"embedding": Dense(), "sparse_embedding": Sparse()},
}


def by(worth, texts: list[str] = TEXTS) -> list[str]:
    found = {each: worth(ASKED, each) for each in texts}
    best = sorted(found, key=found.get, reverse=True)
    return best if worth is cosine else [each for each in best if found[each]]


@pytest.fixture
def stores(deployment, acme, globex):
    """The store of each tenant, in a mode; the other's texts are nearer to all that is asked."""
    made, name = [], f"lc-{uuid.uuid4().hex[:8]}"

    def make(mode: RetrievalMode) -> tuple[QdrantVectorStore, QdrantVectorStore]:
        for tenant, texts in (("acme", TEXTS), ("globex", [f"{ASKED} {n}" for n in range(20)])):
            made.append(
                QdrantVectorStore.from_texts(
                    texts,
                    metadatas=[{"n": n, "whose": tenant} for n in range(len(texts))],
                    retrieval_mode=mode,
                    collection_name=name,
                    url=deployment.qdrant_url,
                    api_key=deployment.token(tenant),
                    timeout=30,
                    **OF_MODE[mode],
                )
            )
        return made[0], made[1]

    yield make
    for store in made:
        store.client.delete_collection(name)
        store.client.close()


@pytest.mark.parametrize("mode", list(RetrievalMode))
def test_documents_are_found_by_their_tenant_alone(stores, mode):
    ours, theirs = stores(mode)
    found = ours.similarity_search_with_score(ASKED, k=4)
    texts = [document.page_content for document, _ in found]
    assert {document.metadata["whose"] for document, _ in found} == {"acme"}
    if mode == RetrievalMode.DENSE:
        assert texts == by(cosine)[:4]
        assert [score for _, score in found] == pytest.approx(
            [cosine(ASKED, each) for each in texts], rel=1e-3
        )
    elif mode == RetrievalMode.SPARSE:
        assert [score for _, score in found] == [shared(ASKED, each) for each in by(shared)[:4]]
        assert texts[0] in by(shared)[:3]
    else:
        # Ranks of equal sparse scores may be either way; the dense ones are as they are.
        assert texts[0] in by(cosine)[:2] and set(texts) <= set(TEXTS)
        best = reciprocal([by(cosine)[:4]])
        assert all(score >= best.get(document.page_content, 0) - 1e-6 for document, score in found)
    assert len(theirs.similarity_search(ASKED, k=50)) == 20


@pytest.mark.parametrize("mode", list(RetrievalMode))
def test_filters_thresholds_and_pages(stores, mode):
    ours, _ = stores(mode)
    wanted = m.Filter(must=[m.FieldCondition(key="metadata.n", range=m.Range(gte=2))])
    found = ours.similarity_search(ASKED, k=10, filter=wanted)
    assert found and {each.metadata["n"] for each in found} <= {2, 3, 4}
    first = ours.similarity_search(ASKED, k=1)
    second = ours.similarity_search(ASKED, k=1, offset=1) if mode != RetrievalMode.HYBRID else []
    assert all(each.page_content != first[0].page_content for each in second)
    if mode == RetrievalMode.DENSE:
        worth = sorted((cosine(ASKED, each) for each in TEXTS), reverse=True)
        near = ours.similarity_search(ASKED, k=10, score_threshold=(worth[1] + worth[2]) / 2)
        assert [each.page_content for each in near] == by(cosine)[:2]


def test_unlike_each_other(stores):
    ours, _ = stores(RetrievalMode.DENSE)
    points = [Point(n, dense(each)) for n, each in enumerate(TEXTS)]
    for weight in (0.2, 0.9):
        found = ours.max_marginal_relevance_search(ASKED, k=3, fetch_k=5, lambda_mult=weight)
        # LangChain hands its lambda on as Qdrant's diversity.
        expected = diverse(points, dense(ASKED), weight, 3, 5)
        assert [each.page_content for each in found] == [TEXTS[n] for n in expected], weight


@pytest.mark.parametrize("mode", list(RetrievalMode))
def test_documents_are_added_fetched_by_id_and_removed(stores, mode):
    ours, theirs = stores(mode)
    ids = [uuid.uuid4().hex, str(uuid.uuid4())]
    more = [Document(page_content=f"{ASKED} exactly {n}", metadata={"n": 90 + n}) for n in (0, 1)]
    assert ours.add_documents(more, ids=ids) == ids
    assert ours.similarity_search(f"{ASKED} exactly 1", k=1)[0].metadata["n"] in (90, 91)
    back = ours.get_by_ids(ids)
    assert {each.page_content for each in back} == {each.page_content for each in more}
    assert theirs.get_by_ids(ids) == []
    assert theirs.delete(ids) is True
    assert len(ours.get_by_ids(ids)) == 2
    assert ours.delete(ids) is True
    assert ours.get_by_ids(ids) == []
    assert {each.metadata["n"] for each in ours.similarity_search(ASKED, k=10)} <= set(range(5))


@pytest.mark.parametrize("mode", list(RetrievalMode))
def test_an_existing_collection_is_opened(deployment, stores, mode):
    ours, _ = stores(mode)
    again = QdrantVectorStore.from_existing_collection(
        collection_name=ours.collection_name,
        retrieval_mode=mode,
        url=deployment.qdrant_url,
        api_key=deployment.token("acme"),
        timeout=30,
        **OF_MODE[mode],
    )
    found = again.as_retriever(search_kwargs={"k": 2}).invoke(ASKED)
    assert len(found) == 2 and {each.metadata["whose"] for each in found} == {"acme"}
    again.client.close()


async def test_asynchronously(stores):
    ours, _ = stores(RetrievalMode.DENSE)
    found = await ours.asimilarity_search(ASKED, k=2)
    assert [each.page_content for each in found] == by(cosine)[:2]


def test_texts_without_metadata(stores):
    ours, _ = stores(RetrievalMode.DENSE)
    (one,) = ours.add_texts(["nothing but words"])
    assert ours.get_by_ids([one])[0].page_content == "nothing but words"
